package holdfast

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"os/user"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

const (
	// connectTimeout is how long one attempt to connect may take.
	connectTimeout = 5 * time.Second
	// pingInterval is after how much silence a connection with calls is asked whether it lives.
	pingInterval = 10 * time.Second
	// pingTimeout is how long it has to answer.
	pingTimeout = 5 * time.Second
	// closeTimeout is how long Close waits for the server to hear of it.
	closeTimeout = 2 * time.Second
)

// reconnect is how fast a broken connection is tried again.
var reconnect = backoff.Config{
	BaseDelay:  50 * time.Millisecond,
	Multiplier: 1.6,
	Jitter:     0.3,
	MaxDelay:   2 * time.Second,
}

// Client is a connection to a Holdfast server. It is safe for use by many goroutines; a program
// needs one. Close it when done.
type Client struct {
	settings settings
	target   string
	dial     []grpc.DialOption
	// done ends with Close.
	done  context.Context
	close context.CancelCauseFunc

	mu       sync.Mutex
	conn     *grpc.ClientConn
	closed   bool
	sessions map[time.Duration]*session
	all      map[*session]struct{}
}

// Dial connects to a server and makes sure that it answers and knows the API token. The address is
// host:port or a URL such as https://locks.example:4653, which asks for TLS with the system's roots.
//
// Errors: ErrUnavailable when the server can't be reached in time, ErrUnauthenticated.
func Dial(ctx context.Context, address string, options ...Option) (*Client, error) {
	s := settings{
		ttl:         ttlDefault,
		owner:       ownerDefault(),
		dialTimeout: dialTimeoutDefault,
		patience:    patienceDefault,
		clock:       newClock(),
	}
	target, secure, err := readAddress(address)
	if err != nil {
		return nil, err
	}
	if secure {
		WithTLS(nil)(&s)
	}
	for _, option := range options {
		option(&s)
	}
	c := &Client{
		settings: s,
		target:   target,
		dial:     dialOptions(&s),
		sessions: map[time.Duration]*session{},
		all:      map[*session]struct{}{},
	}
	c.done, c.close = context.WithCancelCause(context.Background())
	if c.conn, err = grpc.NewClient(c.target, c.dial...); err != nil {
		return nil, fmt.Errorf("holdfast: address %q: %w", address, err)
	}
	trying, cancel := context.WithTimeoutCause(ctx, s.dialTimeout, errPatience)
	defer cancel()
	// A cheap call that wants an API token where there are any.
	probe := &pb.GetLockRequest{Lock: "holdfast"}
	if _, err := invoke(trying, c, pb.NewLockServiceClient, pb.LockServiceClient.GetLock, probe); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return c, nil
}

// readAddress reads host:port or a URL.
func readAddress(address string) (target string, secure bool, err error) {
	at, err := url.Parse(address)
	if err == nil && at.Host != "" && (at.Scheme == "http" || at.Scheme == "https") {
		if at.Path != "" && at.Path != "/" {
			return "", false, fmt.Errorf("holdfast: address %q: must have no path: %w", address, ErrInvalid)
		}
		return at.Host, at.Scheme == "https", nil
	}
	if address == "" {
		return "", false, fmt.Errorf("holdfast: address: must not be empty: %w", ErrInvalid)
	}
	return address, false, nil
}

func dialOptions(s *settings) []grpc.DialOption {
	security := insecure.NewCredentials()
	if s.tls != nil {
		security = credentials.NewTLS(s.tls)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithDisableServiceConfig(),
		grpc.WithUserAgent("holdfast-go"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingInterval, Timeout: pingTimeout}),
	}
	if s.token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(s.token)))
	}
	return options
}

// bearer sends an API token with every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity is false: a server on loopback has no TLS.
func (b bearer) RequireTransportSecurity() bool { return false }

func ownerDefault() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	if who, err := user.Current(); err == nil {
		host = who.Username + "@" + host
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

// Close gives back all that the client holds, takes it out of every line and ends its connection.
// Contexts of grants that are left are cancelled with ErrClosed. A server that can't be reached
// within 2 s gives them back when their TTL has passed.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	sessions := make([]*session, 0, len(c.all))
	for s := range c.all {
		sessions = append(sessions, s)
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var wait sync.WaitGroup
	for _, s := range sessions {
		wait.Go(func() { _ = s.shut(ctx, ErrClosed) })
	}
	wait.Wait()
	c.close(ErrClosed)
	err := c.link().Close()
	if err != nil {
		return fmt.Errorf("holdfast: closing the connection: %w", err)
	}
	return nil
}

// link is the connection of the moment.
func (c *Client) link() *grpc.ClientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// replace makes a new connection in place of one over which nothing comes any more: the system takes
// minutes to notice. Calls on the old one fail as unavailable and are tried again.
func (c *Client) replace(stalled *grpc.ClientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.conn != stalled {
		return
	}
	fresh, err := grpc.NewClient(c.target, c.dial...)
	if err != nil {
		return
	}
	c.conn = fresh
	_ = stalled.Close()
}

// session is the session whose lease has this TTL, with one more user: call leave when done.
func (c *Client) session(ttl time.Duration) (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	s := c.sessions[ttl]
	if s == nil || !s.enter() {
		s = newSession(c, ttl, false, nil)
		s.users = 1
		c.sessions[ttl] = s
		c.all[s] = struct{}{}
		go s.run()
	}
	return s, nil
}

// forget drops a session that has ended.
func (c *Client) forget(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, s)
	if c.sessions[s.ttl] == s {
		delete(c.sessions, s.ttl)
	}
}

// requestID makes a call safe to repeat. It is short, as every change sends one and the server keeps it.
func requestID() string {
	var chance [16]byte
	// It never fails.
	_, _ = rand.Read(chance[:])
	return base64.RawURLEncoding.EncodeToString(chance[:])
}

// within bounds a call that has no deadline by the client's patience.
func (c *Client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, c.settings.patience, errPatience)
}

// errPatience is why a call that was to be tried for so long and no longer was given up.
var errPatience = fmt.Errorf("%w for as long as calls are tried", ErrUnavailable)
