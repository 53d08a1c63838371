package probe

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// serve makes the test's binary a server process of its own: it listens on the
// address, says so on its output, accepts one connection and reads it to its end.
const serve = "KMESH_TEST_SERVE"

func TestMain(m *testing.M) {
	if address := os.Getenv(serve); address != "" {
		if err := serveOne(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func serveOne(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}
