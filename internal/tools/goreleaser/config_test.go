// SPDX-License-Identifier: Apache-2.0

// Package goreleaser pins the tool; here is what can be checked without building it.
package goreleaser

import (
	"slices"
	"testing"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

// `make release` runs `goreleaser check` too, but the tool takes minutes to build.
func TestConfigurationIsWhatGoreleaserReads(t *testing.T) {
	project, err := config.Load("../../../deploy/release/goreleaser.yaml") // rejects an unknown key
	if err != nil {
		t.Fatal(err)
	}
	if built := project.Builds[0].Goarch; !slices.Equal(built, []string{"amd64", "arm64"}) {
		t.Errorf("built for %v", built)
	}
	if len(project.Archives) == 0 || len(project.SBOMs) == 0 || len(project.Signs) == 0 || len(project.Checksum.ExtraFiles) == 0 {
		t.Error("archives, SBOMs, signature and checksums are what a release has")
	}
}
