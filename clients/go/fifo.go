package holdfast

import (
	"context"
	"errors"
	"maps"
	"time"

	"google.golang.org/grpc"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

// Fifo is a durable line by its id. A place in it is a ticket, which outlives connections, clients and
// restarts.
type Fifo struct {
	client *Client
	id     string
}

// Fifo is the line of this id, 1 to 512 bytes of UTF-8 without control characters.
func (c *Client) Fifo(id string) *Fifo { return &Fifo{client: c, id: id} }

// ID is the line's id.
func (f *Fifo) ID() string { return f.id }

// FifoOptions say how a line serves its tickets. What is nil has its default; a span of 0 means no
// end.
type FifoOptions struct {
	// Wait is how long one wait for a turn lasts unless its context is shorter: 6 h unless said.
	Wait *time.Duration
	// Accept is how long a turn waits to be accepted: 1 m unless said.
	Accept *time.Duration
	// Done is how long the work may take from then on: 10 m unless said.
	Done *time.Duration
	// Concurrency is how many may have their turn at once, 1 to 10,000; 0: 1.
	Concurrency int
	// DestroyUnused is after how long without use the line goes: 30 d unless said.
	DestroyUnused *time.Duration
}

// Create makes the line. Errors: ErrExists when there is one with this id.
func (f *Fifo) Create(ctx context.Context, options FifoOptions) error {
	request := &pb.CreateFifoRequest{
		Id: f.id,
		Timeouts: &pb.Timeouts{
			Wait:   spanOf(options.Wait),
			Accept: spanOf(options.Accept),
			Done:   spanOf(options.Done),
		},
		UnusedDestroyTimeout: spanOf(options.DestroyUnused),
		RequestId:            requestID(),
	}
	if options.Concurrency != 0 {
		request.Concurrency = boundOf(options.Concurrency)
	}
	_, err := invoke(ctx, f.client, pb.NewFifoServiceClient, pb.FifoServiceClient.CreateFifo, request)
	return err
}

// Delete ends the line with all its tickets. Wants the role admin. Errors: ErrNotFound.
func (f *Fifo) Delete(ctx context.Context) error {
	request := &pb.DeleteFifoRequest{Fifo: f.id, RequestId: requestID()}
	_, err := invoke(ctx, f.client, pb.NewFifoServiceClient, pb.FifoServiceClient.DeleteFifo, request)
	return err
}

// Ticket is a place in line.
type Ticket struct {
	fifo *Fifo
	id   string
}

// Ticket takes a place at the end of the line. Errors: ErrNotFound where there is no such line.
func (f *Fifo) Ticket(ctx context.Context, options ...TicketOption) (*Ticket, error) {
	request := &pb.CreateTicketRequest{Fifo: f.id, Owner: f.client.settings.owner, RequestId: requestID()}
	for _, option := range options {
		option(request)
	}
	answer, err := invoke(ctx, f.client, pb.NewFifoServiceClient, pb.FifoServiceClient.CreateTicket, request)
	if err != nil {
		return nil, err
	}
	return &Ticket{fifo: f, id: answer.GetTicket().GetId()}, nil
}

// TicketOption says whose a ticket is.
type TicketOption func(*pb.CreateTicketRequest)

// TicketOwner says whose the ticket is, for people to read; the client's owner unless said.
func TicketOwner(owner string) TicketOption {
	return func(r *pb.CreateTicketRequest) { r.Owner = owner }
}

// TicketMetadata says what the owner says of itself.
func TicketMetadata(metadata map[string]string) TicketOption {
	return func(r *pb.CreateTicketRequest) { r.Metadata = maps.Clone(metadata) }
}

// ticketOrNone is Ticket that leaves none behind when ctx ends: the server may have made it already, so
// its answer is waited for, and the ticket taken back.
func (f *Fifo) ticketOrNone(ctx context.Context, options []TicketOption) (*Ticket, error) {
	var t *Ticket
	var err error
	taken := make(chan struct{})
	after := context.WithoutCancel(ctx)
	go func() {
		defer close(taken)
		t, err = f.Ticket(after, options...)
	}()
	select {
	case <-taken:
		return t, err
	case <-ctx.Done():
		go func() {
			if <-taken; err == nil {
				_ = t.Cancel(after)
			}
		}()
		return nil, ended(ctx)
	}
}

// Existing is the ticket with this id, of this line: to go on where another process stopped.
func (f *Fifo) Existing(ticket string) *Ticket { return &Ticket{fifo: f, id: ticket} }

// ID is the ticket's id. It proves the right to the ticket: treat it as a password.
func (t *Ticket) ID() string { return t.id }

// Place is where a ticket stands in line.
type Place struct {
	// Position is its place, counted from 1.
	Position int
	// TimeToGo is about how long it will stand there; nil: no history tells.
	TimeToGo *time.Duration
}

// Wait waits for the ticket's turn and accepts it. Where told is not nil it hears the place in line,
// at first and when it changes. The ticket keeps its place when ctx ends, and a later Wait goes on.
//
// Errors: ErrWaitTimedOut when the line's own timeout for waits passed, ErrTicketLapsed,
// ErrTicketEnded, ErrNotFound.
func (t *Ticket) Wait(ctx context.Context, told func(Place)) error {
	open := func(ctx context.Context, conn *grpc.ClientConn) (grpc.ServerStreamingClient[pb.WaitTicketResponse], error) {
		request := &pb.WaitTicketRequest{Fifo: t.fifo.id, Ticket: t.id}
		return pb.NewFifoServiceClient(conn).WaitTicket(ctx, request)
	}
	var failure error
	follow(ctx, t.fifo.client, open, func(message *pb.WaitTicketResponse) bool {
		if message.GetReady() != nil {
			return false
		}
		if line := message.GetInLine(); line != nil && told != nil {
			told(Place{Position: int(line.GetPosition()), TimeToGo: durationOf(line.GetTimeToGo())})
		}
		return true
	}, func(err error) { failure = err })
	return failure
}

// Extend starts the time for the ticket's work anew, and tells how long that is; nil: it has no end.
// Errors: ErrTicketLapsed, ErrNotFound.
func (t *Ticket) Extend(ctx context.Context) (*time.Duration, error) {
	request := &pb.ExtendTicketRequest{Fifo: t.fifo.id, Ticket: t.id}
	answer, err := invoke(ctx, t.fifo.client, pb.NewFifoServiceClient, pb.FifoServiceClient.ExtendTicket, request)
	if err != nil {
		return nil, err
	}
	return durationOf(answer.GetTicket().GetLapsesIn()), nil
}

// Done says that the ticket's work is done: the next one has its turn. Errors: ErrTicketLapsed,
// ErrNotFound when it was done before.
func (t *Ticket) Done(ctx context.Context) error {
	request := &pb.CompleteTicketRequest{Fifo: t.fifo.id, Ticket: t.id, RequestId: requestID()}
	_, err := invoke(ctx, t.fifo.client, pb.NewFifoServiceClient, pb.FifoServiceClient.CompleteTicket, request)
	return err
}

// Cancel takes the ticket back, wherever it stands. Errors: ErrTicketLapsed, ErrNotFound.
func (t *Ticket) Cancel(ctx context.Context) error {
	request := &pb.CancelTicketRequest{Fifo: t.fifo.id, Ticket: t.id, RequestId: requestID()}
	_, err := invoke(ctx, t.fifo.client, pb.NewFifoServiceClient, pb.FifoServiceClient.CancelTicket, request)
	return err
}

// Turn takes a ticket, waits for its turn, runs the work and says that it is done, whatever the work
// does. The turn is extended in the background; the work's context ends with ctx, and with a
// LossError as its cause when the turn is lost: before the next one in line can have it. When ctx ends
// in line the ticket is taken back.
func (f *Fifo) Turn(ctx context.Context, work func(ctx context.Context) error, options ...TicketOption) (err error) {
	t, err := f.ticketOrNone(ctx, options)
	if err != nil {
		return err
	}
	after := context.WithoutCancel(ctx)
	if err := t.Wait(ctx, nil); err != nil {
		if ctx.Err() != nil || errors.Is(err, ErrWaitTimedOut) {
			return errors.Join(err, t.Cancel(after))
		}
		return err
	}
	inner, stop, err := f.client.keep(ctx, "the turn", t.Extend)
	if err != nil {
		return errors.Join(err, t.Cancel(after))
	}
	defer func() {
		lapsed := &LossError{What: "the turn", Cause: "EXPIRED"}
		if stop() != nil {
			// The server may still count it as ours, and may be out of reach: nobody waits for that.
			go func() { _ = t.Done(after) }()
			err = errors.Join(err, lapsed)
			return
		}
		done := t.Done(after)
		if errors.Is(done, ErrTicketLapsed) {
			done = lapsed
		}
		err = errors.Join(err, done)
	}()
	return work(inner)
}
