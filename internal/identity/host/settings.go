package host

import (
	"fmt"
	"os"
)

// Settings of a Source.
type Settings struct {
	// Name of this host, which stands for the cluster.  Default: what the kernel says.
	Name string
}

func (s *Settings) defaults() error {
	if s.Name != "" {
		return nil
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("ask for the host's name: %w: set node_name", err)
	}
	s.Name = name
	return nil
}
