package holdfast

import (
	"context"
	"errors"
	"iter"
	"time"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

// Queue is a queue by its name: each of its items goes to one consumer at a time.
type Queue struct {
	client *Client
	name   string
}

// Queue is the queue of this name, 1 to 512 bytes of UTF-8 without control characters. It appears at
// first use.
func (c *Client) Queue(name string) *Queue { return &Queue{client: c, name: name} }

// Name is the queue's name.
func (q *Queue) Name() string { return q.name }

// Push puts an item of at most 64 KiB at the end, and tells its id: items are in the order of their
// ids. With KeepFor an item that nobody took in time is gone.
//
// It is the operation enqueueValue(dir, value, ttl?) of etcd libraries.
func (q *Queue) Push(ctx context.Context, data []byte, options ...KeepOption) (uint64, error) {
	request := &pb.EnqueueRequest{
		Queue:     q.name,
		Value:     data,
		Ttl:       spanOf(keepOf(options).ttl),
		RequestId: requestID(),
	}
	answer, err := invoke(ctx, q.client, pb.NewQueueServiceClient, pb.QueueServiceClient.Enqueue, request)
	return answer.GetId(), err
}

// Length tells how many items wait for a consumer.
func (q *Queue) Length(ctx context.Context) (uint64, error) {
	request := &pb.GetQueueRequest{Queue: q.name}
	answer, err := invoke(ctx, q.client, pb.NewQueueServiceClient, pb.QueueServiceClient.GetQueue, request)
	return answer.GetQueue().GetReadyCount(), err
}

// Item is an item that was delivered. Acknowledge or return it in time, or it is delivered again.
type Item struct {
	// ID is its id.
	ID uint64
	// Data is what was pushed.
	Data []byte
	// Deliveries is how often it was delivered, this time counted.
	Deliveries int

	queue   *Queue
	receipt string
}

// PopOption says how to take an item.
type PopOption func(*pop)

type pop struct {
	wait       *time.Duration
	ackTimeout time.Duration
}

// ackTimeoutDefault is how long a consumer has for an item unless it says otherwise.
const ackTimeoutDefault = time.Minute

// PopWait says how long to wait for an item at most; without it for as long as the context lasts.
// 0 asks once.
func PopWait(wait time.Duration) PopOption { return func(p *pop) { p.wait = &wait } }

// AckTimeout says how long the consumer has to acknowledge an item, 100 ms to 7 d; 1 m unless said.
func AckTimeout(timeout time.Duration) PopOption { return func(p *pop) { p.ackTimeout = timeout } }

// Pop takes the first item, waiting for one. Errors: ErrEmpty when there was none in PopWait.
func (q *Queue) Pop(ctx context.Context, options ...PopOption) (*Item, error) {
	p := pop{ackTimeout: ackTimeoutDefault}
	for _, option := range options {
		option(&p)
	}
	clock := q.client.settings.clock
	start := clock.Now()
	ctx, cancel := joined(ctx, q.client.done)
	defer cancel()
	for {
		wait := waitMax
		if p.wait != nil {
			wait = min(max(*p.wait-(clock.Now()-start), 0), waitMax)
		}
		item, err := q.dequeue(ctx, wait, p.ackTimeout)
		switch {
		case errors.Is(err, ErrDeliveryEnded):
			// The answer was so late that the item is in line again.
		case err != nil || item != nil:
			return item, err
		case p.wait != nil && clock.Now()-start >= *p.wait:
			return nil, ErrEmpty
		}
	}
}

// dequeue asks once, as often as it takes to be answered.
func (q *Queue) dequeue(ctx context.Context, wait, ackTimeout time.Duration) (*Item, error) {
	request := &pb.DequeueRequest{
		Queue:      q.name,
		Wait:       span(wait),
		AckTimeout: span(ackTimeout),
		RequestId:  requestID(),
	}
	if wait > 0 {
		// The wait itself has no end but its own.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, wait+q.client.settings.patience, errPatience)
		defer cancel()
	}
	answer, err := invoke(ctx, q.client, pb.NewQueueServiceClient, pb.QueueServiceClient.Dequeue, request)
	told := answer.GetItem()
	if err != nil || told == nil {
		return nil, err
	}
	return &Item{
		ID:         told.GetId(),
		Data:       told.GetValue(),
		Deliveries: int(told.GetDeliveries()),
		queue:      q,
		receipt:    told.GetReceipt(),
	}, nil
}

// Take takes the first item for good, waiting for one: it is acknowledged before it is told, so no
// other consumer receives it, also when this one fails. Options are as for Pop.
//
// It is the operation dequeueValue(dir) of etcd libraries.
func (q *Queue) Take(ctx context.Context, options ...PopOption) (*Item, error) {
	for {
		item, err := q.Pop(ctx, options...)
		if err != nil {
			return nil, err
		}
		if err = item.Ack(ctx); err == nil {
			return item, nil
		}
		if !errors.Is(err, ErrDeliveryEnded) {
			return nil, err
		}
	}
}

// Ack says that the item has been dealt with: it is gone. Errors: ErrDeliveryEnded when it came too
// late, and the item is delivered again.
func (i *Item) Ack(ctx context.Context) error {
	request := &pb.AcknowledgeRequest{Queue: i.queue.name, Receipt: i.receipt, RequestId: requestID()}
	_, err := invoke(ctx, i.queue.client, pb.NewQueueServiceClient, pb.QueueServiceClient.Acknowledge, request)
	return err
}

// Return gives the item back: it is delivered again at once, or goes to the dead letters after too
// many deliveries. Errors: ErrDeliveryEnded.
func (i *Item) Return(ctx context.Context) error {
	request := &pb.ReturnRequest{Queue: i.queue.name, Receipt: i.receipt, RequestId: requestID()}
	_, err := invoke(ctx, i.queue.client, pb.NewQueueServiceClient, pb.QueueServiceClient.Return, request)
	return err
}

// Extend starts the time to acknowledge the item anew, and tells how long that is. Errors:
// ErrDeliveryEnded.
func (i *Item) Extend(ctx context.Context) (*time.Duration, error) {
	request := &pb.ExtendRequest{Queue: i.queue.name, Receipt: i.receipt}
	answer, err := invoke(ctx, i.queue.client, pb.NewQueueServiceClient, pb.QueueServiceClient.Extend, request)
	if err != nil {
		return nil, err
	}
	return durationOf(answer.GetAckIn()), nil
}

// Items are the items as they come, each to be acknowledged or returned by the loop's body, until ctx
// ends, PopWait passes without one, or the loop is left. The last is told as an error; the end of
// PopWait is not.
func (q *Queue) Items(ctx context.Context, options ...PopOption) iter.Seq2[*Item, error] {
	return func(yield func(*Item, error) bool) {
		for {
			item, err := q.Pop(ctx, options...)
			if errors.Is(err, ErrEmpty) || !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// Consume gives each item as it comes to a handler, and acknowledges it when that succeeds, or returns
// it when it fails; the item is extended in the background for as long as the handler runs. The
// handler's context ends with ctx, and with a LossError as its cause when the item is lost: before
// another consumer can have it. Run it in as many goroutines as are to work at once. It ends with
// ctx, with nil when PopWait passes without an item, or when the server can't be reached any more.
func (q *Queue) Consume(
	ctx context.Context,
	handle func(ctx context.Context, item *Item) error,
	options ...PopOption,
) error {
	for item, err := range q.Items(ctx, options...) {
		if err != nil {
			return err
		}
		if err := q.handle(ctx, item, handle); err != nil && !errors.Is(err, ErrDeliveryEnded) {
			return err
		}
	}
	return nil
}

func (q *Queue) handle(ctx context.Context, item *Item, handle func(context.Context, *Item) error) (err error) {
	inner, stop, err := q.client.keep(ctx, "the item", item.Extend)
	if err != nil {
		return err
	}
	after := context.WithoutCancel(ctx)
	succeeded := false
	defer func() {
		if loss := stop(); loss != nil {
			return
		}
		if succeeded {
			err = item.Ack(after)
		} else {
			err = item.Return(after)
		}
	}()
	succeeded = handle(inner, item) == nil
	return nil
}
