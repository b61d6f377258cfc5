package holdfast_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os/exec"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/clients/go"
)

// exampleServer is a server in memory for an example, and how to stop it.
func exampleServer() (address string, stop func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	address = listener.Addr().String()
	listener.Close()
	process := exec.Command(binary(), "serve", "--listen", address, "--store", "memory")
	process.SysProcAttr = dieWithParent()
	if err := process.Start(); err != nil {
		log.Fatal(err)
	}
	return address, func() {
		process.Process.Kill()
		process.Wait()
	}
}

func ExampleLock_Do() {
	address, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	client, err := holdfast.Dial(ctx, address)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	err = client.Lock("deploy").Do(ctx, func(ctx context.Context, g *holdfast.Grant) error {
		fmt.Println("deploying")
		return ctx.Err()
	}, holdfast.TTL(10*time.Second))
	fmt.Println(err)
	// Output:
	// deploying
	// <nil>
}
