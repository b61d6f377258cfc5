package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/clients/go"
)

func increment(before holdfast.Stored) ([]byte, error) {
	n := 0
	if before.Revision != 0 {
		var err error
		if n, err = strconv.Atoi(string(before.Data)); err != nil {
			return nil, err
		}
	}
	return []byte(strconv.Itoa(n + 1)), nil
}

func TestTwentyClientsIncrementAValueTwentyTimesEach(t *testing.T) {
	s := start(t)
	var mu sync.Mutex
	results := map[string]bool{}
	var work sync.WaitGroup
	for range 20 {
		client := s.client()
		work.Go(func() {
			for range 20 {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				after, err := client.Value("counter").Transform(ctx, increment)
				cancel()
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				results[string(after.Data)] = true
				mu.Unlock()
			}
		})
	}
	work.Wait()
	now, err := s.client().Value("counter").Get(soon(t))
	if err != nil || string(now.Data) != "400" || len(results) != 400 {
		t.Fatalf("got %s with %d distinct results, %v", now.Data, len(results), err)
	}
}

func TestAValueChangesOnlyWhereItIsAsExpected(t *testing.T) {
	s := start(t)
	client := s.client()
	v := client.Value("color")
	if _, err := v.Get(soon(t)); !errors.Is(err, holdfast.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	first, err := v.CompareAndSet(soon(t), 0, []byte("blue"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = v.CompareAndSet(soon(t), 0, []byte("red")); !errors.Is(err, holdfast.ErrConflict) {
		t.Fatalf("got %v", err)
	}
	now, changed, err := v.TryTransform(soon(t), func(before holdfast.Stored) ([]byte, error) {
		if _, err := v.Put(soon(t), []byte("green"), holdfast.KeepFor(time.Minute)); err != nil {
			t.Error(err)
		}
		return append(before.Data, '!'), nil
	})
	if changed || err != nil || string(now.Data) != "green" || now.Revision <= first || now.ExpiresIn == nil {
		t.Fatalf("got %+v, %v, %v", now, changed, err)
	}
	if err := v.DeleteRevision(soon(t), first); !errors.Is(err, holdfast.ErrConflict) {
		t.Fatalf("got %v", err)
	}
	if err := v.Delete(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"dir/a", "dir/b", "dirt"} {
		if _, err := client.Value(key).Put(soon(t), []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	children, err := client.GetValues(soon(t), "dir")
	if err != nil || len(children) != 2 || children[1].Key != "dir/b" {
		t.Fatalf("got %+v, %v", children, err)
	}
	if one, err := client.GetValues(soon(t), "dirt"); err != nil || len(one) != 1 {
		t.Fatalf("got %+v, %v", one, err)
	}
	if none, err := client.GetValues(soon(t), "nothing"); err != nil || len(none) != 0 {
		t.Fatalf("got %+v, %v", none, err)
	}
}

func TestAWatchTellsEveryChangeAndOutlivesTheServer(t *testing.T) {
	s := start(t)
	v := s.client().Value("color")
	put := func(data string) {
		t.Helper()
		if _, err := v.Put(soon(t), []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	for change, err := range v.Watch(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, change.Kind+" "+string(change.Value.Data))
		switch len(told) {
		case 1:
			put("blue")
		case 2:
			s.kill()
			s.run()
		case 3:
			if err := v.Delete(soon(t)); err != nil {
				t.Fatal(err)
			}
		}
		if len(told) == 4 {
			break
		}
	}
	if want := []string{"STATE ", "PUT blue", "STATE blue", "DELETED blue"}; !slices.Equal(told, want) {
		t.Fatalf("got %q", told)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range v.Watch(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestTicketsHaveTheirTurnsInOrderAndKeepTheirPlaces(t *testing.T) {
	s := start(t)
	client := s.client()
	line := client.Fifo("line")
	if _, err := line.Ticket(soon(t)); !errors.Is(err, holdfast.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	if err := line.Create(soon(t), holdfast.FifoOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := line.Create(soon(t), holdfast.FifoOptions{}); !errors.Is(err, holdfast.ErrExists) {
		t.Fatalf("got %v", err)
	}
	var tickets []*holdfast.Ticket
	for range 3 {
		ticket, err := line.Ticket(soon(t), holdfast.TicketOwner("me"))
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}
	if err := tickets[0].Wait(soon(t), nil); err != nil {
		t.Fatal(err)
	}
	if left, err := tickets[0].Extend(soon(t)); err != nil || left == nil || *left < 9*time.Minute {
		t.Fatalf("got %v, %v", left, err)
	}
	places := make(chan int, 100)
	turn := make(chan error)
	go func() {
		turn <- tickets[2].Wait(soon(t), func(place holdfast.Place) { places <- place.Position })
	}()
	if place := arrives(t, "the place", places); place != 2 {
		t.Fatalf("got %d", place)
	}
	s.kill()
	s.run()
	if err := tickets[1].Cancel(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := tickets[0].Done(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := arrives(t, "the turn", turn); err != nil {
		t.Fatal(err)
	}
	if err := line.Existing(tickets[2].ID()).Done(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := tickets[2].Done(soon(t)); !errors.Is(err, holdfast.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
}

func TestATurnLastsAsLongAsItsWorkAndIsTheNextOnesAfterIt(t *testing.T) {
	s := start(t)
	done := 900 * time.Millisecond
	line := s.client().Fifo("line")
	if err := line.Create(soon(t), holdfast.FifoOptions{Done: &done}); err != nil {
		t.Fatal(err)
	}
	working := make(chan struct{})
	first := make(chan error)
	go func() {
		first <- line.Turn(soon(t), func(ctx context.Context) error {
			close(working)
			select {
			case <-time.After(2 * done):
			case <-ctx.Done():
			}
			return context.Cause(ctx)
		})
	}()
	arrives(t, "the turn", working)
	// Somebody who gives up in line stands in nobody's way.
	ctx, cancel := context.WithTimeout(context.Background(), done/4)
	defer cancel()
	never := func(context.Context) error { t.Error("had the turn"); return nil }
	if err := line.Turn(ctx, never); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	failure := errors.New("out of paper")
	err := s.client().Fifo("line").Turn(soon(t), func(context.Context) error { return failure })
	if !errors.Is(err, failure) || errors.Is(err, holdfast.ErrLost) {
		t.Fatalf("got %v", err)
	}
	if err := arrives(t, "the first turn", first); err != nil {
		t.Fatal(err)
	}
}

func TestEveryItemIsTakenOnce(t *testing.T) {
	s := start(t)
	const consumers, items = 10, 100
	var mu sync.Mutex
	taken := map[string]int{}
	var work sync.WaitGroup
	for range consumers {
		queue := s.client().Queue("mail")
		work.Go(func() {
			for range items / consumers {
				item, err := queue.Take(soon(t))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				taken[string(item.Data)]++
				mu.Unlock()
			}
		})
	}
	queue := s.client().Queue("mail")
	for i := range items {
		if _, err := queue.Push(soon(t), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	work.Wait()
	if len(taken) != items {
		t.Fatalf("took %d of %d", len(taken), items)
	}
	if left, err := queue.Length(soon(t)); left != 0 || err != nil {
		t.Fatalf("%d left, %v", left, err)
	}
}

func TestWhatIsNotAcknowledgedComesAgain(t *testing.T) {
	s := start(t)
	queue := s.client().Queue("mail")
	if _, err := queue.Pop(soon(t), holdfast.PopWait(10*time.Millisecond)); !errors.Is(err, holdfast.ErrEmpty) {
		t.Fatalf("got %v", err)
	}
	waiting := make(chan *holdfast.Item)
	go func() {
		item, err := queue.Pop(soon(t), holdfast.AckTimeout(300*time.Millisecond))
		if err != nil {
			t.Error(err)
		}
		waiting <- item
	}()
	s.kill()
	s.run()
	if _, err := queue.Push(soon(t), []byte("to ann")); err != nil {
		t.Fatal(err)
	}
	late := arrives(t, "the item", waiting)
	again, err := queue.Pop(soon(t))
	if err != nil || again.Deliveries != 2 || again.ID != late.ID {
		t.Fatalf("got %+v, %v", again, err)
	}
	if err := late.Ack(soon(t)); !errors.Is(err, holdfast.ErrDeliveryEnded) {
		t.Fatalf("got %v", err)
	}
	if err := again.Return(soon(t)); err != nil {
		t.Fatal(err)
	}
	var deliveries []int
	err = queue.Consume(soon(t), func(_ context.Context, item *holdfast.Item) error {
		deliveries = append(deliveries, item.Deliveries)
		if len(deliveries) == 1 {
			return errors.New("out of paper")
		}
		// Longer than the time to acknowledge.
		time.Sleep(700 * time.Millisecond)
		return nil
	}, holdfast.PopWait(0), holdfast.AckTimeout(500*time.Millisecond))
	if err != nil || !slices.Equal(deliveries, []int{3, 4}) {
		t.Fatalf("got %v, %v", deliveries, err)
	}
	if left, err := queue.Length(soon(t)); left != 0 || err != nil {
		t.Fatalf("%d left, %v", left, err)
	}
}

func TestAnElectionHasOneLeaderAtATime(t *testing.T) {
	s := start(t)
	one, other := s.client().Election("boss"), s.client().Election("boss")
	if _, err := one.Campaign(soon(t), "one"); err != nil {
		t.Fatal(err)
	}
	elected := make(chan error)
	go func() {
		_, err := other.Campaign(soon(t), "other")
		elected <- err
	}()
	settles(t, s.client().Lock("boss"), 1, 1)
	var leaders []string
	for leader, err := range other.Observe(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if leader == nil {
			continue
		}
		if leaders = append(leaders, leader.Owner); len(leaders) == 2 {
			break
		}
		if err := one.Resign(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(leaders, []string{"one", "other"}) {
		t.Fatalf("got %q", leaders)
	}
	if err := arrives(t, "the election", elected); err != nil {
		t.Fatal(err)
	}
	if leader, err := one.Leader(soon(t)); err != nil || leader.Owner != "other" {
		t.Fatalf("got %+v, %v", leader, err)
	}
}
