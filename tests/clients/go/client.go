// grpc-go. See tests/clients/programs.py for what each scenario does and prints.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "router.test/v1"
)

const (
	calls      = 10
	shortTime  = 200 * time.Millisecond
	longTime   = time.Minute
	recordTime = 1500 * time.Millisecond
)

type words map[string]interface{}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func tell(said words) {
	line, err := json.Marshal(said)
	check(err)
	fmt.Println(string(line))
}

// nameOf is the name of the status that a call ended with, as the specification writes it.
func nameOf(err error) string {
	names := []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
		"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	return names[status.Code(err)]
}

func plain() *pb.RouteRequest {
	return &pb.RouteRequest{Text: "what is the capital of a small country"}
}

func batch(items int) *pb.RouteBatchRequest {
	request := &pb.RouteBatchRequest{}
	for i := 0; i < items; i++ {
		request.Requests = append(request.Requests, plain())
	}
	return request
}

func message(sequence uint64) *pb.RouteStreamRequest {
	if sequence == 3 {
		return &pb.RouteStreamRequest{Sequence: sequence, Request: &pb.RouteRequest{}}
	}
	return &pb.RouteStreamRequest{Sequence: sequence, Request: plain()}
}

func route(stub pb.RouterServiceClient, limit time.Duration) (*pb.RouteResponse, error) {
	within, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return stub.Route(within, plain())
}

func unary(stub pb.RouterServiceClient) {
	reply, err := route(stub, longTime)
	tell(words{"status": nameOf(err), "model": reply.GetModel(), "decision_id": reply.GetDecisionId()})
}

func stream(stub pb.RouterServiceClient) {
	within, cancel := context.WithTimeout(context.Background(), longTime)
	defer cancel()
	call, err := stub.RouteStream(within)
	check(err)
	sequences, codes, models := []uint64{}, []int32{}, []string{}
	for sequence := uint64(1); sequence <= 5; sequence++ {
		check(call.Send(message(sequence)))
		reply, err := call.Recv()
		check(err)
		sequences = append(sequences, reply.Sequence)
		codes = append(codes, reply.Result.GetError().GetCode())
		models = append(models, reply.Result.GetResponse().GetModel())
	}
	check(call.CloseSend())
	_, err = call.Recv()
	if err == io.EOF {
		err = nil
	}
	tell(words{"sequences": sequences, "codes": codes, "models": models, "status": nameOf(err)})
}

func hangup(stub pb.RouterServiceClient) {
	within, cancel := context.WithTimeout(context.Background(), longTime)
	defer cancel()
	call, err := stub.RouteStream(within)
	check(err)
	check(call.Send(message(1)))
	first, err := call.Recv()
	check(err)
	cancel()
	_, err = call.Recv()
	tell(words{"sequence": first.Sequence, "status": nameOf(err)})
	unary(stub)
}

func deadline(stub pb.RouterServiceClient) {
	_, err := route(stub, shortTime)
	tell(words{"status": nameOf(err)})
	unary(stub)
}

func cancel(stub pb.RouterServiceClient) {
	var statuses [calls]string
	var cancels [calls]context.CancelFunc
	var ended [2]sync.WaitGroup
	for i := range statuses {
		within, cancel := context.WithTimeout(context.Background(), longTime)
		cancels[i] = cancel
		ended[i%2].Add(1)
		go func(i int) {
			defer ended[i%2].Done()
			_, err := stub.Route(within, plain())
			statuses[i] = nameOf(err)
		}(i)
	}
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	check(err)
	for i := 0; i < calls; i += 2 {
		cancels[i]()
	}
	for first := range ended {
		ended[first].Wait()
		part := []string{}
		for i := first; i < calls; i += 2 {
			part = append(part, statuses[i])
		}
		tell(words{"statuses": part})
	}
	for i := 1; i < calls; i += 2 {
		cancels[i]()
	}
}

func large(stub pb.RouterServiceClient) {
	within, cancel := context.WithTimeout(context.Background(), longTime)
	defer cancel()
	reply, err := stub.Route(within, &pb.RouteRequest{Text: strings.Repeat("kitchen ", 3<<17)})
	tell(words{"status": nameOf(err), "prompt_tokens": reply.GetPromptTokens()})
	replies, err := stub.RouteBatch(within, batch(5000))
	tell(words{"status": nameOf(err), "results": len(replies.GetResults()), "bytes": proto.Size(replies)})
}

func failure(stub pb.RouterServiceClient) {
	choice := &pb.RouteRequest_PolicyName{PolicyName: "günstig 100% 安い"}
	_, err := stub.Route(context.Background(), &pb.RouteRequest{Text: "x", PolicyChoice: choice})
	tell(words{"status": nameOf(err), "details": status.Convert(err).Message()})
}

func refusal(stub pb.RouterServiceClient) {
	var trailers metadata.MD
	_, err := stub.RouteBatch(context.Background(), batch(3), grpc.Trailer(&trailers))
	tell(words{
		"status": nameOf(err), "details": status.Convert(err).Message(),
		"pushback": strings.Join(trailers.Get("grpc-retry-pushback-ms"), ","),
	})
}

func record(stub pb.RouterServiceClient) {
	statuses := []string{}
	for i := 0; i < 3; i++ {
		_, err := route(stub, recordTime)
		statuses = append(statuses, nameOf(err))
	}
	tell(words{"statuses": statuses})
}

func main() {
	scenarios := map[string]func(pb.RouterServiceClient){
		"unary": unary, "stream": stream, "hangup": hangup, "deadline": deadline, "cancel": cancel,
		"large": large, "error": failure, "refusal": refusal, "record": record,
	}
	security := grpc.WithInsecure()
	if len(os.Args) > 3 {
		pem, err := os.ReadFile(os.Args[3])
		check(err)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		security = grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots}))
	}
	connection, err := grpc.Dial(os.Args[2], security, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	check(err)
	defer connection.Close()
	scenarios[os.Args[1]](pb.NewRouterServiceClient(connection))
}
