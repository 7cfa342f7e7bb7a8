// gRPC's client for C++. See tests/clients/programs.py for what each scenario does and prints.
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "router/v1/router.grpc.pb.h"

namespace pb = router::v1;
using grpc::ClientContext;
using grpc::Status;
using Stub = pb::RouterService::Stub;
using std::chrono::milliseconds;

constexpr int kCalls = 10;
constexpr milliseconds kShort{200}, kLong{60000}, kRecord{1500};

std::string name(grpc::StatusCode code) {
  static const std::map<grpc::StatusCode, std::string> names = {
      {grpc::OK, "OK"},
      {grpc::CANCELLED, "CANCELLED"},
      {grpc::INVALID_ARGUMENT, "INVALID_ARGUMENT"},
      {grpc::DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"},
      {grpc::RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"},
      {grpc::UNAVAILABLE, "UNAVAILABLE"},
  };
  auto found = names.find(code);
  return found == names.end() ? std::to_string(code) : found->second;
}

// What is printed holds no control characters.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

template <typename Items, typename Show>
std::string list(const Items& items, Show show) {
  std::string out = "[";
  for (const auto& item : items) out += (out.size() > 1 ? ", " : "") + show(item);
  return out + "]";
}

void tell(const std::vector<std::pair<std::string, std::string>>& words) {
  std::string out;
  for (const auto& [key, json] : words) out += (out.empty() ? "" : ", ") + quoted(key) + ": " + json;
  std::cout << "{" << out << "}" << std::endl;
}

void limit(ClientContext* context, milliseconds time) {
  context->set_deadline(std::chrono::system_clock::now() + time);
}

pb::RouteRequest plain() {
  pb::RouteRequest request;
  request.set_text("what is the capital of a small country");
  return request;
}

pb::RouteBatchRequest batch(int items) {
  pb::RouteBatchRequest request;
  for (int i = 0; i < items; ++i) *request.add_requests() = plain();
  return request;
}

pb::RouteStreamRequest message(int sequence) {
  pb::RouteStreamRequest request;
  request.set_sequence(sequence);
  *request.mutable_request() = sequence == 3 ? pb::RouteRequest() : plain();
  return request;
}

Status route(Stub& stub, milliseconds time, pb::RouteResponse* reply) {
  ClientContext context;
  limit(&context, time);
  return stub.Route(&context, plain(), reply);
}

void unary(Stub& stub) {
  pb::RouteResponse reply;
  Status status = route(stub, kLong, &reply);
  tell({{"status", quoted(name(status.error_code()))},
        {"model", quoted(reply.model())},
        {"decision_id", quoted(reply.decision_id())}});
}

void stream(Stub& stub) {
  ClientContext context;
  limit(&context, kLong);
  auto call = stub.RouteStream(&context);
  std::vector<pb::RouteStreamResponse> replies(5);
  for (int i = 0; i < 5; ++i)
    if (!call->Write(message(i + 1)) || !call->Read(&replies[i])) break;
  call->WritesDone();
  pb::RouteStreamResponse more;
  bool ended = !call->Read(&more);
  Status status = call->Finish();
  tell({{"sequences", list(replies, [](auto& one) { return std::to_string(one.sequence()); })},
        {"models", list(replies, [](auto& one) { return quoted(one.result().response().model()); })},
        {"codes", list(replies, [](auto& one) { return std::to_string(one.result().error().code()); })},
        {"status", quoted(ended ? name(status.error_code()) : "more came")}});
}

void hangup(Stub& stub) {
  ClientContext context;
  limit(&context, kLong);
  auto call = stub.RouteStream(&context);
  pb::RouteStreamResponse first;
  call->Write(message(1));
  call->Read(&first);
  context.TryCancel();
  Status status = call->Finish();
  tell({{"sequence", std::to_string(first.sequence())}, {"status", quoted(name(status.error_code()))}});
  unary(stub);
}

void deadline(Stub& stub) {
  pb::RouteResponse reply;
  tell({{"status", quoted(name(route(stub, kShort, &reply).error_code()))}});
  unary(stub);
}

void cancel(Stub& stub) {
  std::vector<ClientContext> contexts(kCalls);
  std::vector<std::string> statuses(kCalls);
  std::vector<std::thread> calls;
  for (int i = 0; i < kCalls; ++i) {
    limit(&contexts[i], kLong);
    calls.emplace_back([&, i] {
      pb::RouteResponse reply;
      statuses[i] = name(stub.Route(&contexts[i], plain(), &reply).error_code());
    });
  }
  std::string line;
  std::getline(std::cin, line);
  for (int i = 0; i < kCalls; i += 2) contexts[i].TryCancel();
  for (int first : {0, 1}) {
    std::vector<std::string> part;
    for (int i = first; i < kCalls; i += 2) {
      calls[i].join();
      part.push_back(statuses[i]);
    }
    tell({{"statuses", list(part, quoted)}});
  }
}

void large(Stub& stub) {
  ClientContext up, down;
  limit(&up, kLong);
  limit(&down, kLong);
  std::string text;
  for (int i = 0; i < 3 << 17; ++i) text += "kitchen ";
  pb::RouteRequest request;
  request.set_text(text);
  pb::RouteResponse reply;
  Status status = stub.Route(&up, request, &reply);
  tell({{"status", quoted(name(status.error_code()))}, {"prompt_tokens", std::to_string(reply.prompt_tokens())}});
  pb::RouteBatchResponse replies;
  status = stub.RouteBatch(&down, batch(5000), &replies);
  tell({{"status", quoted(name(status.error_code()))},
        {"results", std::to_string(replies.results_size())},
        {"bytes", std::to_string(replies.ByteSizeLong())}});
}

void error(Stub& stub) {
  ClientContext context;
  limit(&context, kLong);
  pb::RouteRequest request;
  request.set_text("x");
  request.set_policy_name("günstig 100% 安い");
  pb::RouteResponse reply;
  Status status = stub.Route(&context, request, &reply);
  tell({{"status", quoted(name(status.error_code()))}, {"details", quoted(status.error_message())}});
}

void refusal(Stub& stub) {
  ClientContext context;
  limit(&context, kLong);
  pb::RouteBatchResponse reply;
  Status status = stub.RouteBatch(&context, batch(3), &reply);
  auto trailers = context.GetServerTrailingMetadata();
  auto pushback = trailers.find("grpc-retry-pushback-ms");
  tell({{"status", quoted(name(status.error_code()))},
        {"details", quoted(status.error_message())},
        {"pushback", quoted(pushback == trailers.end()
                                ? ""
                                : std::string(pushback->second.data(), pushback->second.size()))}});
}

void record(Stub& stub) {
  std::vector<std::string> statuses;
  for (int i = 0; i < 3; ++i) {
    pb::RouteResponse reply;
    statuses.push_back(name(route(stub, kRecord, &reply).error_code()));
  }
  tell({{"statuses", list(statuses, quoted)}});
}

int main(int argc, char** argv) {
  const std::map<std::string, std::function<void(Stub&)>> scenarios = {
      {"unary", unary},   {"stream", stream}, {"hangup", hangup}, {"deadline", deadline}, {"cancel", cancel},
      {"large", large},   {"error", error},   {"refusal", refusal}, {"record", record},
  };
  if (argc < 3 || !scenarios.count(argv[1])) return 2;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (argc > 3) {
    std::ifstream file(argv[3]);
    std::stringstream pem;
    pem << file.rdbuf();
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = pem.str();
    credentials = grpc::SslCredentials(options);
  }
  auto stub = pb::RouterService::NewStub(grpc::CreateCustomChannel(argv[2], credentials, arguments));
  scenarios.at(argv[1])(*stub);
}
