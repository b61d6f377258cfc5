package holdfast

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"google.golang.org/grpc"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

// Value is a small value by its key, to read, change and watch.
type Value struct {
	client *Client
	key    string
}

// Value is the value of this key, 1 to 512 bytes of UTF-8 without control characters.
func (c *Client) Value(key string) *Value { return &Value{client: c, key: key} }

// Key is the value's key.
func (v *Value) Key() string { return v.key }

// Stored is a value as it was read.
type Stored struct {
	// Key is the key.
	Key string
	// Data is what is kept, at most 64 KiB.
	Data []byte
	// Revision is the number that it got when it was put; it only rises. 0: there is no value.
	Revision uint64
	// ExpiresIn is the time until it goes; nil: it stays.
	ExpiresIn *time.Duration
}

func storedOf(v *pb.Value) Stored {
	return Stored{
		Key:       v.GetKey(),
		Data:      v.GetValue(),
		Revision:  v.GetRevision(),
		ExpiresIn: durationOf(v.GetExpiresIn()),
	}
}

// KeepOption says how an item or a value is kept.
type KeepOption func(*keep)

type keep struct{ ttl *time.Duration }

// KeepFor says after how long a value or an item in line goes by itself, 100 ms to 30 d.
func KeepFor(ttl time.Duration) KeepOption { return func(k *keep) { k.ttl = &ttl } }

func keepOf(options []KeepOption) (k keep) {
	for _, option := range options {
		option(&k)
	}
	return k
}

// Get reads the value. Errors: ErrNotFound.
func (v *Value) Get(ctx context.Context) (Stored, error) {
	request := &pb.GetValueRequest{Key: v.key}
	answer, err := invoke(ctx, v.client, pb.NewValueServiceClient, pb.ValueServiceClient.GetValue, request)
	if err != nil {
		return Stored{}, err
	}
	return storedOf(answer.GetValue()), nil
}

// Put keeps data in place of what is there, and tells its revision.
func (v *Value) Put(ctx context.Context, data []byte, options ...KeepOption) (uint64, error) {
	request := &pb.PutValueRequest{
		Key:       v.key,
		Value:     data,
		Ttl:       spanOf(keepOf(options).ttl),
		RequestId: requestID(),
	}
	answer, err := invoke(ctx, v.client, pb.NewValueServiceClient, pb.ValueServiceClient.PutValue, request)
	return answer.GetRevision(), err
}

// CompareAndSet keeps data where the value still has this revision (0: where there is none), and
// tells the new one. Errors: ErrConflict.
func (v *Value) CompareAndSet(
	ctx context.Context,
	revision uint64,
	data []byte,
	options ...KeepOption,
) (uint64, error) {
	request := &pb.CompareAndSetValueRequest{
		Key:              v.key,
		Value:            data,
		ExpectedRevision: revision,
		Ttl:              spanOf(keepOf(options).ttl),
		RequestId:        requestID(),
	}
	answer, err := invoke(ctx, v.client, pb.NewValueServiceClient, pb.ValueServiceClient.CompareAndSetValue, request)
	return answer.GetRevision(), err
}

// Delete takes the value away. Errors: ErrNotFound.
func (v *Value) Delete(ctx context.Context) error { return v.DeleteRevision(ctx, 0) }

// DeleteRevision takes the value away where it still has this revision. Errors: ErrConflict,
// ErrNotFound.
func (v *Value) DeleteRevision(ctx context.Context, revision uint64) error {
	request := &pb.DeleteValueRequest{Key: v.key, ExpectedRevision: revision, RequestId: requestID()}
	_, err := invoke(ctx, v.client, pb.NewValueServiceClient, pb.ValueServiceClient.DeleteValue, request)
	return err
}

// TryTransform reads the value, applies change to it, and writes the result back where nobody changed
// it meanwhile. It tells whether that succeeded, and the value as it is now. change is given the zero
// Stored where there is no value; its error is passed on, and nothing is written. What is written
// stays until it is deleted unless options say otherwise.
//
// It is the operation tryTransformValue(key, f) of etcd libraries.
func (v *Value) TryTransform(
	ctx context.Context,
	change func(Stored) ([]byte, error),
	options ...KeepOption,
) (now Stored, changed bool, err error) {
	before, err := v.read(ctx)
	if err != nil {
		return Stored{}, false, err
	}
	data, err := change(before)
	if err != nil {
		return before, false, err
	}
	revision, err := v.CompareAndSet(ctx, before.Revision, data, options...)
	switch {
	case err == nil:
		return Stored{Key: v.key, Data: data, Revision: revision, ExpiresIn: keepOf(options).ttl}, true, nil
	case errors.Is(err, ErrConflict):
		now, err = v.read(ctx)
		return now, false, err
	default:
		return before, false, err
	}
}

// Transform is TryTransform again and again until it succeeds; it tells the value after it. change
// may be called many times.
//
// It is the operation transformValue(key, f) of etcd libraries.
func (v *Value) Transform(
	ctx context.Context,
	change func(Stored) ([]byte, error),
	options ...KeepOption,
) (Stored, error) {
	p := pause{most: 200 * time.Millisecond, next: time.Millisecond}
	for {
		now, changed, err := v.TryTransform(ctx, change, options...)
		if changed || err != nil {
			return now, err
		}
		if !sleep(ctx, p.step(0)) {
			return now, ended(ctx)
		}
	}
}

// read is Get, with the zero Stored where there is no value.
func (v *Value) read(ctx context.Context) (Stored, error) {
	stored, err := v.Get(ctx)
	if errors.Is(err, ErrNotFound) {
		return Stored{Key: v.key}, nil
	}
	return stored, err
}

// ListValues are the values whose keys begin so, in the order of their keys' bytes.
func (c *Client) ListValues(ctx context.Context, prefix string) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		request := &pb.ListValuesRequest{Prefix: prefix}
		for {
			page, err := invoke(ctx, c, pb.NewValueServiceClient, pb.ValueServiceClient.ListValues, request)
			if err != nil {
				yield(Stored{}, err)
				return
			}
			for _, v := range page.GetValues() {
				if !yield(storedOf(v), nil) {
					return
				}
			}
			if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
				return
			}
		}
	}
}

// GetValues are the value of the key, or else the values of its children, those whose keys begin with
// the key and a slash. None: an empty list.
//
// It is the operation getValues(key) of etcd libraries.
func (c *Client) GetValues(ctx context.Context, key string) ([]Stored, error) {
	one, err := c.Value(key).Get(ctx)
	if err == nil {
		return []Stored{one}, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	var values []Stored
	for child, err := range c.ListValues(ctx, strings.TrimSuffix(key, "/")+"/") {
		if err != nil {
			return nil, err
		}
		values = append(values, child)
	}
	return values, nil
}

// ValueChange is what a watch tells.
type ValueChange struct {
	// Kind is STATE for what is there as the watch begins, or begins anew after a broken connection,
	// and PUT, DELETED or EXPIRED for what happened then.
	Kind string
	// Value is the value as it is now, or as it was last where it was DELETED or EXPIRED. In a STATE
	// its Revision is 0 where there is none.
	Value Stored
}

// Watch tells what is under the key, and then every change of it, until ctx ends or the loop is left.
// A broken connection is made anew, and begins with a STATE again: changes in between are not told one
// by one.
func (v *Value) Watch(ctx context.Context) iter.Seq2[ValueChange, error] {
	open := func(ctx context.Context, conn *grpc.ClientConn) (grpc.ServerStreamingClient[pb.WatchValueResponse], error) {
		return pb.NewValueServiceClient(conn).WatchValue(ctx, &pb.WatchValueRequest{Key: v.key})
	}
	read := func(message *pb.WatchValueResponse) ValueChange {
		if change := message.GetChange(); change != nil {
			kind := strings.TrimPrefix(change.GetKind().String(), "VALUE_EVENT_KIND_")
			return ValueChange{Kind: kind, Value: storedOf(change.GetValue())}
		}
		now := storedOf(message.GetState().GetValue())
		now.Key = v.key
		return ValueChange{Kind: "STATE", Value: now}
	}
	return func(yield func(ValueChange, error) bool) {
		follow(ctx, v.client, open, func(message *pb.WatchValueResponse) bool {
			return yield(read(message), nil)
		}, func(err error) { yield(ValueChange{}, err) })
	}
}
