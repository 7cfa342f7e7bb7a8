// grpc-js, the client for Node. See tests/clients/programs.py for what each scenario does and prints.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const grpc = require("@grpc/grpc-js");
const { loadSync } = require("@grpc/proto-loader");

const PROTO = path.join(__dirname, "..", "..", "..", "proto");
const SHORT_MS = 200;
const LONG_MS = 60_000;
const RECORD_MS = 1_500;
const CALLS = 10;
const PLAIN = { text: "what is the capital of a small country" };
const LARGE = { text: "kitchen ".repeat(3 << 17) };
const UNKNOWN_POLICY = { text: "x", policy_name: "günstig 100% 安い" };

const definition = loadSync("router/v1/router.proto", {
  includeDirs: [PROTO], keepCase: true, longs: Number, enums: String, defaults: true,
});
const { router } = grpc.loadPackageDefinition(definition);

const tell = (words) => process.stdout.write(`${JSON.stringify(words)}\n`);
const options = (timeout) => ({ deadline: Date.now() + timeout });
const batch = (items) => ({ requests: Array(items).fill(PLAIN) });
const message = (sequence) => ({ sequence, request: sequence === 3 ? {} : PLAIN });

// Begins a unary call; `ended` is told how it ended and never fails.
function begin(stub, method, request, timeout = LONG_MS) {
  const begun = {};
  begun.ended = new Promise((resolve) => {
    begun.call = stub[method](request, new grpc.Metadata(), options(timeout), (error, reply) =>
      resolve({
        status: grpc.status[error ? error.code : grpc.status.OK],
        details: error?.details,
        trailers: error?.metadata,
        reply: reply ?? {},
      }));
  });
  return begun;
}

// A stream whose answers are read one at a time.
function open(stub) {
  const call = stub.RouteStream(new grpc.Metadata(), options(LONG_MS));
  const status = new Promise((resolve) => call.on("status", ({ code }) => resolve(grpc.status[code])));
  call.on("error", () => {}); // told as status
  const answers = call[Symbol.asyncIterator]();
  return { call, status, next: () => answers.next() };
}

async function unary(stub) {
  const { status, reply } = await begin(stub, "Route", PLAIN).ended;
  tell({ status, model: reply.model, decision_id: reply.decision_id });
}

async function stream(stub) {
  const { call, status, next } = open(stub);
  const replies = [];
  for (let sequence = 1; sequence <= 5; sequence += 1) {
    call.write(message(sequence));
    replies.push((await next()).value);
  }
  call.end();
  if (!(await next()).done) throw new Error("more came than was asked for");
  tell({
    sequences: replies.map((reply) => reply.sequence),
    models: replies.map((reply) => reply.result.response?.model ?? ""),
    codes: replies.map((reply) => reply.result.error?.code ?? 0),
    status: await status,
  });
}

async function hangup(stub) {
  const { call, status, next } = open(stub);
  call.write(message(1));
  const { sequence } = (await next()).value;
  call.cancel();
  tell({ sequence, status: await status });
  await unary(stub);
}

async function deadline(stub) {
  const { status } = await begin(stub, "Route", PLAIN, SHORT_MS).ended;
  tell({ status });
  await unary(stub);
}

async function cancel(stub) {
  const calls = Array.from({ length: CALLS }, () => begin(stub, "Route", PLAIN));
  const input = readline.createInterface({ input: process.stdin });
  await new Promise((resolve) => input.once("line", resolve));
  input.close();
  const [cancelled, others] = [0, 1].map((part) => calls.filter((_, place) => place % 2 === part));
  cancelled.forEach(({ call }) => call.cancel());
  for (const part of [cancelled, others]) {
    tell({ statuses: (await Promise.all(part.map(({ ended }) => ended))).map(({ status }) => status) });
  }
}

async function large(stub) {
  const up = await begin(stub, "Route", LARGE).ended;
  tell({ status: up.status, prompt_tokens: up.reply.prompt_tokens });
  const down = await begin(stub, "RouteBatch", batch(5000)).ended;
  const bytes = definition["router.v1.RouterService"].RouteBatch.responseSerialize(down.reply).length;
  tell({ status: down.status, results: down.reply.results?.length, bytes });
}

async function error(stub) {
  const { status, details } = await begin(stub, "Route", UNKNOWN_POLICY).ended;
  tell({ status, details });
}

async function refusal(stub) {
  const { status, details, trailers } = await begin(stub, "RouteBatch", batch(3)).ended;
  tell({ status, details, pushback: trailers?.get("grpc-retry-pushback-ms")[0] });
}

async function record(stub) {
  const statuses = [];
  for (let call = 0; call < 3; call += 1) {
    statuses.push((await begin(stub, "Route", PLAIN, RECORD_MS).ended).status);
  }
  tell({ statuses });
}

const SCENARIOS = { unary, stream, hangup, deadline, cancel, large, error, refusal, record };

async function main([scenario, address, ca]) {
  const credentials = ca ? grpc.credentials.createSsl(fs.readFileSync(ca)) : grpc.credentials.createInsecure();
  const stub = new router.v1.RouterService(address, credentials, { "grpc.max_receive_message_length": -1 });
  await SCENARIOS[scenario](stub);
  stub.close();
}

main(process.argv.slice(2));
