package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func hash(text string) tlog.Hash {
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	must(err)
	check(len(data) == tlog.HashSize, "%q is no hash", text)
	return tlog.Hash(data)
}

func hashes(texts []string) []tlog.Hash {
	var all []tlog.Hash
	for _, text := range texts {
		all = append(all, hash(text))
	}
	return all
}

func open(data []byte, keys note.Verifiers) *note.Note {
	opened, err := note.Open(data, keys)
	must(err)
	return opened
}

// proof checks a proof of one record: c2sp.org/tlog-proof@v1 outside, and what extra holds (docs/format.md, Proof). Whether the record
// is Avro is not looked at. Prints "index size leaf leaves".
func proof(file, sealKey, logKey string) {
	data, err := os.ReadFile(file)
	must(err)
	head, checkpoint, found := strings.Cut(string(data), "\n\n")
	check(found, "no empty line")
	lines := strings.Split(head, "\n")
	check(len(lines) >= 3 && lines[0] == "c2sp.org/tlog-proof@v1", "no tlog-proof")
	extra, isExtra := strings.CutPrefix(lines[1], "extra ")
	number, isIndex := strings.CutPrefix(lines[2], "index ")
	check(isExtra && isIndex, "no extra or no index")
	index, err := strconv.ParseInt(number, 10, 64)
	must(err)
	part, err := base64.StdEncoding.Strict().DecodeString(extra)
	must(err)

	seal, err := note.NewVerifier(sealKey)
	must(err)
	log, err := note.NewVerifier(logKey)
	must(err)

	var line struct {
		Format                         string
		Leaf, Manifest, Schema, Record int64
		Path                           []string
	}
	first, rest, _ := strings.Cut(string(part), "\n")
	must(json.Unmarshal([]byte(first), &line))
	check(line.Format == "authseal/proof@1", "format %q", line.Format)
	check(int64(len(rest)) == line.Manifest+line.Schema+line.Record, "lengths")
	record := rest[line.Manifest+line.Schema:]

	signed := open([]byte(rest[:line.Manifest]), note.VerifierList(seal))
	check(len(signed.UnverifiedSigs) == 0 && len(signed.Sigs) == 1, "signatures of the manifest")
	var manifest struct {
		Origin, Root string
		Counts       struct{ Records int64 }
	}
	must(json.Unmarshal([]byte(signed.Text), &manifest))
	check(seal.Name() == manifest.Origin+"/seal" && log.Name() == manifest.Origin, "names of keys")
	leaf := tlog.RecordHash([]byte(record))
	must(tlog.CheckRecord(hashes(line.Path), manifest.Counts.Records, hash(manifest.Root), line.Leaf, leaf))

	text := strings.Split(open([]byte(checkpoint), note.VerifierList(log)).Text, "\n")
	check(len(text) == 4 && text[0] == manifest.Origin, "checkpoint %q", text)
	size, err := strconv.ParseInt(text[1], 10, 64)
	must(err)
	entry := tlog.RecordHash([]byte(signed.Text))
	must(tlog.CheckRecord(hashes(lines[3:]), size, hash(text[2]), index, entry))
	fmt.Println(index, size, line.Leaf, manifest.Counts.Records)
}
