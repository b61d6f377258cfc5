package holdfast_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A program of the README, and what it prints.
var program = regexp.MustCompile("(?s)```go\n(package main\n.*?)```\n\n```text\n(.*?)```")

func TestTheProgramsOfTheReadmeRunAsTheyStand(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	programs := program.FindAllStringSubmatch(string(readme), -1)
	if all := strings.Count(string(readme), "```go\n"); len(programs) != all || all == 0 {
		t.Fatalf("%d of %d programs have an output", len(programs), all)
	}
	s := start(t)
	for _, found := range programs {
		source := strings.ReplaceAll(found[1], "127.0.0.1:4653", s.address)
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		printed, err := exec.Command("go", "run", file).CombinedOutput()
		if err != nil || string(printed) != found[2] {
			t.Errorf("%v: printed\n%s\nnot\n%s", err, printed, found[2])
		}
	}
}
