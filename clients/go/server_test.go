package holdfast_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/clients/go"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// server is a real server on loopback, with its data in a directory of the test's.
type server struct {
	t       testing.TB
	dir     string
	address string
	process *exec.Cmd
	log     *logged
}

// logged keeps the server's log and tells its address.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.WriteString(line)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func binary() string {
	if path := os.Getenv("HOLDFAST_BIN"); path != "" {
		return path
	}
	path, err := filepath.Abs("../../target/debug/holdfast")
	if err != nil {
		return "holdfast"
	}
	return path
}

// start starts a server, which ends with the test.
func start(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), address: freeAddress(t)}
	s.run()
	t.Cleanup(s.kill)
	return s
}

// freeAddress is one that a server may be started on again and again.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// run starts the server process and waits until it serves.
func (s *server) run() {
	s.t.Helper()
	s.log = &logged{}
	s.process = exec.Command(binary(), "serve", "--listen", s.address, "--data-dir", s.dir)
	s.process.SysProcAttr = dieWithParent()
	output, err := s.process.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		s.t.Fatalf("%v: build it with `cargo build`, or name it in HOLDFAST_BIN", err)
	}
	log := s.log
	go func() {
		lines := bufio.NewReader(output)
		for {
			line, err := lines.ReadString('\n')
			log.add(line)
			if err != nil {
				return
			}
		}
	}()
	eventually(s.t, "the server serves", func() bool {
		conn, err := net.DialTimeout("tcp", s.address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// kill ends the server as a power cut does.
func (s *server) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	if s.t.Failed() {
		s.t.Logf("server:\n%s", s.log)
	}
}

func (s *server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}

// client connects to the server.
func (s *server) client(options ...holdfast.Option) *holdfast.Client {
	s.t.Helper()
	return dial(s.t, s.address, options...)
}

func dial(t testing.TB, address string, options ...holdfast.Option) *holdfast.Client {
	t.Helper()
	client, err := holdfast.Dial(soon(t), address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// soon is a context for what must not take long.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// arrives waits for a channel.
func arrives[T any](t testing.TB, what string, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(patience):
		t.Fatalf("not in time: %s", what)
	}
	return value
}

func acquire(t testing.TB, l *holdfast.Lock, options ...holdfast.AcquireOption) *holdfast.Grant {
	t.Helper()
	g, err := l.Acquire(soon(t), options...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func release(t testing.TB, g *holdfast.Grant) {
	t.Helper()
	if err := g.Release(soon(t)); err != nil {
		t.Fatal(err)
	}
}

// settles waits until so many hold a lock and so many wait.
func settles(t testing.TB, l *holdfast.Lock, holders, waiters int) {
	t.Helper()
	var state *holdfast.LockState
	eventually(t, "the lock settles", func() bool {
		var err error
		if state, err = l.State(soon(t)); err != nil {
			t.Fatal(err)
		}
		return state.HolderCount == holders && state.WaiterCount == waiters
	})
}

// proxy is a TCP proxy that can be cut.
type proxy struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	healed   *sync.Cond
	cut      bool
	delay    time.Duration
	conns    map[net.Conn]struct{}
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return proxyOn(t, listener, target)
}

func proxyOn(t testing.TB, listener net.Listener, target string) *proxy {
	p := &proxy{listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	p.healed = sync.NewCond(&p.mu)
	go p.accept()
	t.Cleanup(func() {
		listener.Close()
		p.heal()
		p.drop()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(near)
	}
}

func (p *proxy) serve(near net.Conn) {
	defer near.Close()
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	time.Sleep(delay)
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer far.Close()
	p.mu.Lock()
	p.conns[near], p.conns[far] = struct{}{}, struct{}{}
	p.mu.Unlock()
	go func() {
		p.copy(near, far)
		near.Close()
	}()
	p.copy(far, near)
}

// copy passes bytes on, but none while the network is cut.
func (p *proxy) copy(to io.Writer, from io.Reader) {
	buffer := make([]byte, 32*1024)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		for p.cut {
			p.healed.Wait()
		}
		p.mu.Unlock()
		if _, failed := to.Write(buffer[:n]); failed != nil || err != nil {
			return
		}
	}
}

// slow has every new connection take so long from now on.
func (p *proxy) slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// silence lets nothing through from now on, and tells nobody.
func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
}

// heal lets everything through again.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
	p.healed.Broadcast()
}

// drop breaks every connection.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
	clear(p.conns)
}
