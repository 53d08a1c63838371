// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxDepth and maxFolders bound a walk: anybody to whom a part of the tree was delegated can make folders in it.
	maxDepth   = 64
	maxFolders = 2 * maxKnown
)

// walker goes down a hierarchy. Nothing but folders' names, inode numbers and numbers of links is read.
type walker struct {
	visit func(id uint64, at position) bool
	// present gets each pod, populated those with processes, which takes a file to be read for each. One may be nil.
	present, populated func(at position)
	folders            int
	buffer             [16 << 10]byte
}

func (w *walker) walk(root string) error {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("read %s: %w", root, err)
	}
	w.below(fd, position{}, maxDepth)
	return nil
}

type folder struct {
	name string
	at   position
}

// below visits what is in the folder fd, which it closes. A folder that goes meanwhile is no error.
func (w *walker) below(fd int, at position, depth int) {
	defer func() { _ = unix.Close(fd) }()
	var deeper []folder
	for {
		n, err := unix.ReadDirent(fd, w.buffer[:])
		if err != nil || n <= 0 {
			break
		}
		for rest := w.buffer[:n]; len(rest) > 0; {
			id, kind, name, length := entry(rest)
			if length == 0 {
				break
			}
			rest = rest[length:]
			if kind != unix.DT_DIR || name == "." || name == ".." {
				continue
			}
			child := at.below(name)
			if w.folders++; w.folders > maxFolders || !w.visit(id, child) {
				return
			}
			if child.inPod() && !at.inPod() {
				w.meet(fd, name, child)
			}
			// A folder has a link of each one in it, and two of its own: with those alone nothing is below.
			var s unix.Stat_t
			if depth > 0 && unix.Fstatat(fd, name, &s, unix.AT_SYMLINK_NOFOLLOW) == nil && s.Nlink != 2 {
				deeper = append(deeper, folder{name, child})
			}
		}
	}
	for _, f := range deeper {
		if child, err := unix.Openat(fd, f.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
			w.below(child, f.at, depth-1)
		}
	}
}

// meet reports a pod's outermost folder.
func (w *walker) meet(fd int, name string, at position) {
	if w.present != nil {
		w.present(at)
	}
	if w.populated != nil && populated(fd, name) {
		w.populated(at)
	}
}

// populated returns whether there are processes in a folder or below it. Where that cannot be read, there may be.
func populated(fd int, name string) bool {
	events, err := unix.Openat(fd, name+"/cgroup.events", unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return !errors.Is(err, unix.ENOENT)
	}
	defer func() { _ = unix.Close(events) }()
	var text [128]byte
	n, err := unix.Read(events, text[:])
	return err != nil || !bytes.Contains(text[:max(n, 0)], []byte("populated 0"))
}

// entry reads the first entry of getdents64(2); its length is 0 if there is none.
func entry(b []byte) (id uint64, kind byte, name string, length int) {
	const header = int(unsafe.Offsetof(unix.Dirent{}.Name))
	if len(b) < header {
		return 0, 0, "", 0
	}
	length = int(binary.NativeEndian.Uint16(b[unsafe.Offsetof(unix.Dirent{}.Reclen):]))
	if length < header || length > len(b) {
		return 0, 0, "", 0
	}
	kind = b[unsafe.Offsetof(unix.Dirent{}.Type)]
	if kind == unix.DT_DIR { // the files of a cgroup are ten times as many
		name = unix.ByteSliceToString(b[header:length])
	}
	return binary.NativeEndian.Uint64(b), kind, name, length
}
