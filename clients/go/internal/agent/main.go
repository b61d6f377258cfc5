// Command agent is this client's part in clients/scenarios: commands as lines of JSON in, events as
// lines of JSON out. The README there has the commands. An agent holds its end of a scenario and judges
// nothing.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	holdfast "github.com/holdfast-dev/holdfast/clients/go"
)

// command is what is to be done, by whichever of the fields it needs.
type command struct {
	ID      int      `json:"id"`
	Do      string   `json:"do"`
	Of      int      `json:"of"`
	Address string   `json:"address"`
	Token   string   `json:"token"`
	CA      string   `json:"ca"`
	Cert    string   `json:"cert"`
	Key     string   `json:"key"`
	TTL     seconds  `json:"ttl"`
	Timeout seconds  `json:"timeout"`
	Lock    string   `json:"lock"`
	Wait    *seconds `json:"wait"`
	Every   seconds  `json:"every"`
	Fifo    string   `json:"fifo"`
	Accept  seconds  `json:"accept"`
	Done    seconds  `json:"done"`
	Queue   string   `json:"queue"`
	Value   string   `json:"value"`
	Ack     seconds  `json:"ack"`
}

type seconds float64

func (s seconds) span() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// outcome is what else there is to tell.
type outcome map[string]any

var kinds = []struct {
	err  error
	kind string
}{
	{context.Canceled, "cancelled"},
	{holdfast.ErrDeliveryEnded, "ended"},
	{holdfast.ErrTicketEnded, "ended"},
	{holdfast.ErrTicketLapsed, "lost"},
	{holdfast.ErrLost, "lost"},
	{holdfast.ErrHeld, "held"},
	{holdfast.ErrWaitTimedOut, "timed_out"},
	{holdfast.ErrNotHolder, "not_holder"},
	{holdfast.ErrLimit, "limit"},
	{holdfast.ErrUnavailable, "unavailable"},
	{holdfast.ErrUnauthenticated, "unauthenticated"},
	{holdfast.ErrPermissionDenied, "denied"},
	{holdfast.ErrInvalid, "invalid"},
	{holdfast.ErrNotFound, "not_found"},
}

func kindOf(err error) string {
	for _, each := range kinds {
		if errors.Is(err, each.err) {
			return each.kind
		}
	}
	return "other"
}

// now is nanoseconds of the clock that all agents of a machine share.
func now() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		log.Fatal(err)
	}
	return now.Nano()
}

// agent is one client, and what it has got by the numbers of the commands that got it.
type agent struct {
	mu      sync.Mutex
	client  *holdfast.Client
	got     map[int]any
	cancels map[int]context.CancelFunc
	ends    map[int]chan struct{}
}

// say tells an event of a command, stamped with this moment.
func (a *agent) say(id int, event string, more outcome) {
	line := outcome{"id": id, "event": event, "at": now()}
	for key, value := range more {
		line[key] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		log.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := os.Stdout.Write(append(text, '\n')); err != nil {
		os.Exit(0)
	}
}

func (a *agent) begin(c *command) {
	switch c.Do {
	case "cancel":
		a.mu.Lock()
		a.cancels[c.Of]()
		a.mu.Unlock()
		a.say(c.ID, "done", nil)
	case "end":
		a.mu.Lock()
		close(a.ends[c.Of])
		a.mu.Unlock()
		a.say(c.ID, "done", nil)
	default:
		ctx, cancel := context.WithCancel(context.Background())
		end := make(chan struct{})
		a.mu.Lock()
		a.cancels[c.ID], a.ends[c.ID] = cancel, end
		a.mu.Unlock()
		go a.run(ctx, c, end)
	}
}

func (a *agent) run(ctx context.Context, c *command, end <-chan struct{}) {
	more, err := a.carryOut(ctx, c, end)
	if err != nil {
		a.say(c.ID, "failed", outcome{"kind": kindOf(err), "message": err.Error()})
		return
	}
	a.say(c.ID, "done", more)
}

func (a *agent) keep(id int, got any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got[id] = got
}

// take is what a command has got.
func take[T any](a *agent, of int) (T, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	got, ok := a.got[of].(T)
	if !ok {
		return got, fmt.Errorf("of: %d has got no such thing", of)
	}
	return got, nil
}

func (a *agent) open() *holdfast.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.client
}

func (a *agent) carryOut(ctx context.Context, c *command, end <-chan struct{}) (outcome, error) {
	if c.Do == "connect" {
		return a.connect(ctx, c)
	}
	client := a.open()
	if client == nil {
		return nil, errors.New("not connected")
	}
	switch c.Do {
	case "close":
		return nil, client.Close()
	case "acquire":
		return a.acquire(ctx, client, c)
	case "release":
		return a.release(ctx, c)
	case "believe":
		return a.believe(c, end)
	case "create_fifo":
		return createFifo(ctx, client, c)
	case "ticket":
		asked := now()
		ticket, err := client.Fifo(c.Fifo).Ticket(ctx)
		a.keep(c.ID, ticket)
		return outcome{"asked": asked}, err
	case "wait":
		return a.wait(ctx, c)
	case "complete":
		return a.complete(ctx, c)
	case "turn":
		return a.turn(ctx, client, c, end)
	case "push":
		item, err := client.Queue(c.Queue).Push(ctx, []byte(c.Value))
		return outcome{"item": item}, err
	case "pop":
		item, err := client.Queue(c.Queue).Take(ctx, popOptions(c)...)
		return popped(item, err)
	case "take":
		options := append(popOptions(c), holdfast.AckTimeout(c.Ack.span()))
		item, err := client.Queue(c.Queue).Pop(ctx, options...)
		a.keep(c.ID, item)
		return popped(item, err)
	case "acknowledge":
		item, err := take[*holdfast.Item](a, c.Of)
		if err != nil {
			return nil, err
		}
		return nil, item.Ack(ctx)
	case "add":
		return add(ctx, client.Value(c.Value))
	default:
		return nil, fmt.Errorf("do: no such command: %s", c.Do)
	}
}

func main() {
	a := &agent{
		got:     map[int]any{},
		cancels: map[int]context.CancelFunc{},
		ends:    map[int]chan struct{}{},
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			log.Fatal(err)
		}
		a.begin(&c)
	}
	// What is held is not given back: the end of stdin is the end.
}
