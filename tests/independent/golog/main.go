// Reads the transparency log of a directory store with Go's sumdb/note and sumdb/tlog: no code of authseal is involved.
//
// usage: golog STORE LOG-VERIFIER-KEY
//
//	golog proof FILE SEAL-VERIFIER-KEY LOG-VERIFIER-KEY
//
// Every batch must be a note that note.Open accepts, its root the tree hash of the entries up to it. The checkpoint
// must open, tiles must authenticate against it, and each entry of each bundle must be proven by them, at its index.
// Prints "entries batches" on success.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(good bool, format string, arguments ...any) {
	if !good {
		must(fmt.Errorf(format, arguments...))
	}
}

// memory keeps the hashes of a tree in the order of tlog.StoredHashIndex.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		hashes[i] = m[index]
	}
	return hashes, nil
}

// tiles reads the tiles of a log as c2sp.org/tlog-tiles places them: without the height that sumdb has in its paths.
type tiles string

func (t tiles) Height() int { return 8 }

func (t tiles) path(tile tlog.Tile) string {
	return filepath.Join(string(t), "tile", strings.TrimPrefix(tile.Path(), "tile/8/"))
}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range wanted {
		data, err := os.ReadFile(t.path(tile))
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

type header struct {
	Batch, First, Count, Size int64
	Root                      string
}

func main() {
	if len(os.Args) == 5 && os.Args[1] == "proof" {
		proof(os.Args[2], os.Args[3], os.Args[4])
		return
	}
	check(len(os.Args) == 3, "usage: golog STORE LOG-VERIFIER-KEY | golog proof FILE SEAL-VERIFIER-KEY LOG-VERIFIER-KEY")
	log := filepath.Join(os.Args[1], "log")
	verifier, err := note.NewVerifier(os.Args[2])
	must(err)
	keys := note.VerifierList(verifier)

	// the batches, one after the other
	var hashes memory
	var entries []string
	names, err := filepath.Glob(filepath.Join(log, "batches", "*"))
	must(err)
	for number, name := range names {
		data, err := os.ReadFile(name)
		must(err)
		opened, err := note.Open(data, keys)
		must(err)
		first, rest, _ := strings.Cut(opened.Text, "\n")
		var h header
		must(json.Unmarshal([]byte(first), &h))
		check(h.Batch == int64(number) && h.First == int64(len(entries)), "%s: batch %d from %d", name, h.Batch, h.First)
		for _, line := range strings.SplitAfter(strings.TrimSuffix(rest, "\n")+"\n", "\n") {
			if line == "" {
				continue
			}
			stored, err := tlog.StoredHashes(int64(len(entries)), []byte(line), hashes)
			must(err)
			hashes = append(hashes, stored...)
			entries = append(entries, line)
		}
		root, err := tlog.TreeHash(int64(len(entries)), hashes)
		must(err)
		check(h.Size == int64(len(entries)) && h.Root == root.String(), "%s: root", name)
	}

	// the checkpoint, and the tiles under it
	data, err := os.ReadFile(filepath.Join(log, "checkpoint"))
	must(err)
	opened, err := note.Open(data, keys)
	must(err)
	lines := strings.Split(opened.Text, "\n")
	check(len(lines) == 4 && lines[0] == verifier.Name(), "checkpoint: %q", opened.Text)
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	check(size == int64(len(entries)), "checkpoint: %d entries, the batches hold %d", size, len(entries))
	rootBytes, err := base64.StdEncoding.DecodeString(lines[2])
	must(err)
	var root tlog.Hash
	copy(root[:], rootBytes)
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, tiles(log))
	for old := int64(1); old <= size; old++ {
		was, err := tlog.TreeHash(old, reader)
		must(err)
		proof, err := tlog.ProveTree(size, old, reader)
		must(err)
		must(tlog.CheckTree(proof, size, root, old, was))
	}

	// the bundles
	at := int64(0)
	for at < size {
		tile := tlog.Tile{H: 8, L: 0, N: at / 256, W: int(min(256, size-at))}
		path := strings.Replace(tiles(log).path(tile), "/tile/0/", "/tile/entries/", 1)
		bundle, err := os.ReadFile(path)
		must(err)
		for len(bundle) > 0 {
			length := int(binary.BigEndian.Uint16(bundle))
			entry := bundle[2 : 2+length]
			bundle = bundle[2+length:]
			check(string(entry) == entries[at], "%s: entry %d is not the one of the batches", path, at)
			proof, err := tlog.ProveRecord(size, at, reader)
			must(err)
			must(tlog.CheckRecord(proof, size, root, at, tlog.RecordHash(entry)))
			at++
		}
	}
	check(at == size, "bundles hold %d entries of %d", at, size)
	fmt.Println(size, len(names))
}
