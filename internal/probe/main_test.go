// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/kmesh-net/otelcol-kmesh/test/leaktest"
)

// serve makes the test's binary a server process of its own: it listens on the
// address, says so on its output, accepts one connection and reads it to its end.
const serve = "KMESH_TEST_SERVE"

// roles are what the test's binary can be as a child process, by the variable that
// asks for it and whose value is the argument.
var roles = map[string]func(argument string) error{serve: serveOne, acceptInherited: acceptOne, echoInput: echo}

func TestMain(m *testing.M) {
	for variable, play := range roles {
		if argument := os.Getenv(variable); argument != "" {
			if err := play(argument); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	leaktest.Main(m)
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

// acceptInherited makes the test's binary a process that was given a listener: it accepts one connection from descriptor 3,
// and reads it to its end.
const acceptInherited = "KMESH_TEST_ACCEPT"

func acceptOne(string) error {
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

// echoInput makes the test's binary a process that returns what it reads.
const echoInput = "KMESH_TEST_ECHO"

func echo(string) error {
	_, err := io.Copy(os.Stdout, os.Stdin)
	return err
}
