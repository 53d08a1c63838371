// SPDX-License-Identifier: Apache-2.0

//go:build release

package deploy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// built is the folder that `make release` fills, which also runs this test.
const built = "../../release"

// architectures are those of a release, with what RPM calls them.
var architectures = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// TestRelease examines the files of a release as who downloads them would. It takes dpkg-deb, rpm and rpm2cpio.
func TestRelease(t *testing.T) {
	version := os.Getenv("RELEASE_VERSION")
	require.NotEmpty(t, version)
	chartFile := fmt.Sprintf("otelcol-kmesh-%s.tgz", version)
	summed := []string{chartFile}
	for arch, rpmArch := range architectures {
		archive := fmt.Sprintf("otelcol-kmesh_%s_linux_%s.tar.gz", version, arch)
		// A pre-release sorts before its release, which takes a tilde.
		packaged := strings.Replace(version, "-", "~", 1)
		deb := fmt.Sprintf("otelcol-kmesh_%s_%s.deb", packaged, arch)
		rpm := fmt.Sprintf("otelcol-kmesh-%s-1.%s.rpm", packaged, rpmArch)
		summed = append(summed, archive, archive+".spdx.json", deb, rpm)

		files := unpack(t, filepath.Join(built, archive))
		binary := requireArchive(t, files, arch, version)
		requireBillOfMaterials(t, filepath.Join(built, archive+".spdx.json"), binary)
		requirePackages(t, filepath.Join(built, deb), filepath.Join(built, rpm), files, arch, packaged)
	}

	out, err := output(t, "helm", "show", "chart", filepath.Join(built, chartFile))
	require.NoError(t, err, out)
	require.Contains(t, out, "\nappVersion: "+version+"\n")
	require.Contains(t, out, "\nversion: "+version+"\n")

	notes, err := os.ReadFile(filepath.Join(built, "notes.md"))
	require.NoError(t, err)
	changelog, err := os.ReadFile("../../CHANGELOG.md")
	require.NoError(t, err)
	require.NotEmpty(t, bytes.TrimSpace(notes))
	require.Contains(t, string(changelog), string(notes))

	sums, err := os.ReadFile(filepath.Join(built, "checksums.txt"))
	require.NoError(t, err)
	var names []string
	for line := range strings.Lines(string(sums)) {
		names = append(names, strings.Fields(line)[1])
	}
	require.ElementsMatch(t, summed, names)
	check := exec.Command("sha256sum", "--check", "--strict", "checksums.txt")
	check.Dir = built
	checked, err := check.CombinedOutput()
	require.NoError(t, err, "%s", checked)
	t.Logf("%s", checked)
	requireSignature(t)
}

// requireArchive compares an archive's files with those that it should have, and returns the path of its collector.
func requireArchive(t *testing.T, files map[string][]byte, arch, version string) string {
	t.Helper()
	examples, err := filepath.Glob("../../deploy/examples/*.yaml")
	require.NoError(t, err)
	want := map[string]string{
		"LICENSE": "../../LICENSE", "README.md": "../../README.md", "CHANGELOG.md": "../../CHANGELOG.md",
		"otelcol-kmesh.service": "../../deploy/package/otelcol-kmesh.service", "config.yaml": "../../deploy/package/config.yaml",
	}
	for _, path := range examples {
		want["examples/"+filepath.Base(path)] = path
	}
	for name, path := range want {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(content), string(files[name]), name)
	}
	require.Len(t, files, len(want)+1, "and the collector")

	dir := t.TempDir()
	binary, config := filepath.Join(dir, "otelcol-kmesh"), filepath.Join(dir, "config.yaml")
	require.NoError(t, os.WriteFile(binary, files["otelcol-kmesh"], 0o755))
	require.NoError(t, os.WriteFile(config, files["config.yaml"], 0o644))
	info, err := buildinfo.ReadFile(binary)
	require.NoError(t, err)
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	require.Equal(t, []string{arch, "0", "true"}, []string{settings["GOARCH"], settings["CGO_ENABLED"], settings["-trimpath"]})
	require.True(t, bytes.Contains(files["otelcol-kmesh"], []byte(version)), "version of %s", arch)
	if arch == runtime.GOARCH {
		out, err := output(t, binary, "--version")
		require.NoError(t, err, out)
		require.Equal(t, "otelcol-kmesh version "+version, strings.TrimSpace(out))
		out, err = output(t, binary, "validate", "--config", config)
		require.NoError(t, err, out)
	}
	return binary
}

// requireBillOfMaterials compares the packages of an SBOM with the modules in the collector.
func requireBillOfMaterials(t *testing.T, path, binary string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var document struct {
		SPDXVersion string `json:"spdxVersion"`
		Packages    []struct {
			Name             string `json:"name"`
			VersionInfo      string `json:"versionInfo"`
			LicenseConcluded string `json:"licenseConcluded"`
			LicenseDeclared  string `json:"licenseDeclared"`
		} `json:"packages"`
	}
	require.NoError(t, json.Unmarshal(content, &document))
	require.Contains(t, document.SPDXVersion, "SPDX-")
	licences := map[string]string{}
	for _, p := range document.Packages {
		licences[p.Name+"@"+p.VersionInfo] = p.LicenseDeclared
	}
	info, err := buildinfo.ReadFile(binary)
	require.NoError(t, err)
	require.NotEmpty(t, info.Deps)
	var missing, unlicensed []string
	for _, module := range info.Deps {
		if module.Replace != nil { // this repository
			continue
		}
		licence, listed := licences[module.Path+"@"+module.Version]
		if !listed {
			missing = append(missing, module.Path+"@"+module.Version)
		} else if licence == "NOASSERTION" {
			unlicensed = append(unlicensed, module.Path)
		}
	}
	require.Empty(t, missing)
	t.Logf("%s: %d modules, without a known licence: %s", filepath.Base(path), len(info.Deps), unlicensed)
}

// requirePackages compares the files of both packages with those of the archive.
func requirePackages(t *testing.T, deb, rpm string, archive map[string][]byte, arch, version string) {
	t.Helper()
	field, err := output(t, "dpkg-deb", "--show", "--showformat", "${Package} ${Version} ${Architecture}", deb)
	require.NoError(t, err, field)
	require.Equal(t, "otelcol-kmesh "+version+" "+arch, field)
	field, err = output(t, "rpm", "--query", "--queryformat", "%{NAME} %{VERSION} %{ARCH}", "--package", rpm)
	require.NoError(t, err, field)
	require.Equal(t, "otelcol-kmesh "+version+" "+architectures[arch], field)
	field, err = output(t, "rpm", "--query", "--configfiles", "--package", rpm)
	require.NoError(t, err, field)
	require.Equal(t, "/etc/otelcol-kmesh/config.yaml", strings.TrimSpace(field))

	for _, command := range []string{`dpkg-deb --extract "$1" "$2"`, `rpm2cpio "$1" | cpio --quiet --extract --make-directories --directory "$2"`} {
		root := t.TempDir()
		path := deb
		if strings.HasPrefix(command, "rpm") {
			path = rpm
		}
		path, err = filepath.Abs(path)
		require.NoError(t, err)
		out, err := output(t, "sh", "-c", command, "sh", path, root)
		require.NoError(t, err, out)
		var names []string
		require.NoError(t, filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				names = append(names, strings.TrimPrefix(path, root))
			}
			return err
		}))
		from := map[string]string{
			"/usr/bin/otelcol-kmesh":                        "otelcol-kmesh",
			"/usr/lib/systemd/system/otelcol-kmesh.service": "otelcol-kmesh.service",
			"/etc/otelcol-kmesh/config.yaml":                "config.yaml",
			"/usr/share/doc/otelcol-kmesh/copyright":        "LICENSE",
		}
		require.Len(t, names, len(from), "%s", names)
		for name, entry := range from {
			content, err := os.ReadFile(filepath.Join(root, name))
			require.NoError(t, err)
			require.Equal(t, digest(archive[entry]), digest(content), "%s: %s", path, name)
		}
	}
}

// requireSignature verifies the signature of the checksums, as CONTRIBUTING.md describes, if they were to be signed.
func requireSignature(t *testing.T) {
	t.Helper()
	signature, sums := filepath.Join(built, "checksums.txt.sig"), filepath.Join(built, "checksums.txt")
	if os.Getenv("COSIGN_PRIVATE_KEY") == "" {
		require.NoFileExists(t, signature)
		t.Log("not signed: there is no COSIGN_PRIVATE_KEY")
		return
	}
	dir := t.TempDir()
	public, other := filepath.Join(dir, "cosign.pub"), filepath.Join(dir, "checksums.txt")
	out, err := output(t, "cosign", "public-key", "--key", "env://COSIGN_PRIVATE_KEY", "--outfile", public)
	require.NoError(t, err, out)
	verify := func(path string) (string, error) {
		return output(t, "cosign", "verify-blob", "--key", public, "--insecure-ignore-tlog", "--signature", signature, path)
	}
	out, err = verify(sums)
	require.NoError(t, err, out)
	content, err := os.ReadFile(sums)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(other, append(content, '\n'), 0o644))
	_, err = verify(other)
	require.Error(t, err, "one byte more")
	t.Log("the signature is that of the checksums")
}

// unpack returns the files of a tar.gz, by name.
func unpack(t *testing.T, path string) map[string][]byte {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	compressed, err := gzip.NewReader(file)
	require.NoError(t, err)
	files, archive := map[string][]byte{}, tar.NewReader(compressed)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		if header.Typeflag != tar.TypeReg {
			continue
		}
		files[header.Name], err = io.ReadAll(archive)
		require.NoError(t, err)
	}
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// output runs a tool of the PATH, and returns what it printed.
func output(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
