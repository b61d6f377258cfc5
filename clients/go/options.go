package holdfast

import (
	"crypto/tls"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// ttlDefault is how long a client's lease lasts without a renewal unless it says otherwise.
	ttlDefault = 30 * time.Second
	// dialTimeoutDefault is how long Dial tries.
	dialTimeoutDefault = 10 * time.Second
	// patienceDefault is how long a call is tried again where its context has no deadline.
	patienceDefault = 30 * time.Second
	// waitMax is the longest wait that the server takes; longer ones ask again.
	waitMax = 24 * time.Hour
)

type settings struct {
	token       string
	tls         *tls.Config
	ttl         time.Duration
	owner       string
	dialTimeout time.Duration
	patience    time.Duration
	// clock is the system's, but for tests.
	clock clock
}

// Option is a setting of a client.
type Option func(*settings)

// WithToken sends an API token with every call. Use it with TLS: it travels as it is.
func WithToken(token string) Option {
	return func(s *settings) { s.token = token }
}

// WithTLS speaks TLS; nil takes the system's roots. A configuration with RootCAs trusts a CA of
// its own, one with Certificates presents a client certificate.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) {
		if config == nil {
			config = &tls.Config{}
		}
		s.tls = config
	}
}

// WithTTL says how long what the client holds outlives it, 100 ms to 30 d; 30 s unless said. It is
// also how long a cut of the network may last before grants are lost.
func WithTTL(ttl time.Duration) Option {
	return func(s *settings) { s.ttl = ttl }
}

// WithOwner says who this is, for people to read; user@host:pid unless said. At most 512 bytes.
func WithOwner(owner string) Option {
	return func(s *settings) { s.owner = owner }
}

// WithDialTimeout says how long Dial tries where its context has no earlier deadline; 10 s unless
// said.
func WithDialTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.dialTimeout = timeout }
}

// WithPatience says how long a call is tried again while the server is unavailable, where the call's
// context has no deadline; 30 s unless said. It does not bound waits in line.
func WithPatience(patience time.Duration) Option {
	return func(s *settings) { s.patience = patience }
}

// span is a duration as the schema has it.
func span(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

// spanOf is a duration as the schema has it; nil: not said.
func spanOf(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(*d)
}

// durationOf reads a duration of the schema's; nil: not said.
func durationOf(d *durationpb.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	read := d.AsDuration()
	return &read
}
