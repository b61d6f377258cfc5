package holdfast

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

// answerWithin is how long an answer may take before the connection counts as dead: early enough
// for a new one before anything is lost.
func (s *session) answerWithin() time.Duration {
	return min(max(s.ttl/6, answerMin), answerMax)
}

// renewEvery is how often the lease is renewed: two renewals may go astray.
func (s *session) renewEvery() time.Duration {
	return min(s.ttl/3, renewalMax)
}

// attach opens a stream within patience, takes the session up again if there is one, and serves the stream
// until it breaks. It tells whether the session was open, and why it is not any more.
func (s *session) attach(patience time.Duration) (opened bool, err error) {
	conn := s.client.link()
	// The session's own pauses are enough.
	conn.ResetConnectBackoff()
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	late := time.AfterFunc(patience, func() { cancel(errStalled) })
	defer late.Stop()
	defer func() {
		if errors.Is(context.Cause(ctx), errStalled) {
			s.client.replace(conn)
			err = errStalled
		}
	}()
	stream, err := pb.NewSessionServiceClient(conn).Attach(ctx)
	if err != nil {
		return false, err
	}
	sent := s.client.settings.clock.Now()
	if err := stream.Send(s.opening()); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	first, err := stream.Recv()
	if err != nil {
		return false, err
	}
	late.Stop()
	if s.mayHoldUnknown(first.GetOpened()) {
		return false, giveUp(stream)
	}
	if !s.attached(first.GetOpened(), sent) {
		return false, errNotOpened
	}
	var work sync.WaitGroup
	work.Go(func() { s.sendAll(ctx, cancel, stream) })
	work.Go(func() { s.renew(ctx, cancel) })
	for {
		message, broken := stream.Recv()
		if broken != nil {
			err = broken
			break
		}
		s.handle(message)
	}
	stall := context.Cause(ctx)
	cancel(stall)
	// The messages are the sender's until it is done.
	work.Wait()
	return true, err
}

// opening is the first message of a stream.
func (s *session) opening() *pb.AttachRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := &pb.OpenSession{LeaseId: s.leaseID, AcceptsBatches: true}
	if s.leaseID == "" {
		open.Ttl = span(s.ttl)
		open.Owner = s.client.settings.owner
		open.Metadata = s.metadata
	}
	id := s.nextID
	s.nextID++
	return &pb.AttachRequest{CallId: id, Call: &pb.AttachRequest_Open{Open: open}}
}

// mayHoldUnknown is whether there may be a grant on the lease whose answer was lost, and which can't be
// had again: the server has forgotten the request id. Asking again would wait behind that grant, which
// this very session keeps alive.
func (s *session) mayHoldUnknown(opened *pb.SessionOpened) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := len(s.grants) + len(s.early)
	if !opened.GetResumed() || int(opened.GetLease().GetGrantCount()) <= known {
		return false
	}
	longAgo := s.client.settings.clock.Now() - requestMemory
	for _, c := range s.calls {
		if c.acquire != nil && max(c.asked, s.heard) < longAgo {
			return true
		}
	}
	return false
}

// giveUp ends the lease of a session that has just been opened, and with it the grants that nobody
// knows. It tells why.
func giveUp(stream grpc.BidiStreamingClient[pb.AttachRequest, pb.AttachResponse]) error {
	const number = math.MaxUint64 // That of no call.
	bye := &pb.AttachRequest{CallId: number, Call: &pb.AttachRequest_Close{Close: &pb.CloseSession{}}}
	if err := stream.Send(bye); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return errUnknownGrants
		} else if err != nil {
			return err
		}
	}
}

// attached takes note of an open stream and asks again for all that has no answer.
func (s *session) attached(opened *pb.SessionOpened, sent time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if opened == nil || s.closing {
		return false
	}
	s.up = true
	s.batches = opened.GetAcceptsBatches()
	s.heard = sent
	s.generation++
	s.leaseID = opened.GetLease().GetLeaseId()
	if !s.wasOpened {
		s.wasOpened = true
		close(s.opened)
	}
	// What is over by now is lost before it could be confirmed.
	if s.reckon(); s.over != nil {
		return false
	}
	s.confirm(sent, opened.GetLease().GetExpiresIn())
	s.out = nil
	pending := make([]*call, 0, len(s.calls))
	for _, c := range s.calls {
		if c.isRenewal() {
			delete(s.calls, c.id)
			continue
		}
		pending = append(pending, c)
	}
	slices.SortFunc(pending, func(a, b *call) int { return cmp.Compare(a.id, b.id) })
	for _, c := range pending {
		s.send(c)
	}
	return true
}

// outgoing is a message to send; its renewal, if it is one, is told when.
type outgoing struct {
	message *pb.AttachRequest
	renewal *call
}

// send puts a call in line to be sent, where a stream is open; otherwise that comes with the stream.
func (s *session) send(c *call) {
	if !s.up {
		return
	}
	out := outgoing{message: c.request(s.client.settings.clock.Now())}
	c.copies++
	if c.isRenewal() {
		out.renewal = c
	}
	s.push(out)
	if c.abandoned {
		s.push(outgoing{message: cancelOf(c)})
	}
}

func (s *session) push(out outgoing) {
	s.out = append(s.out, out)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// sendAll sends what is in line.
func (s *session) sendAll(
	ctx context.Context,
	cancel context.CancelCauseFunc,
	stream grpc.BidiStreamingClient[pb.AttachRequest, pb.AttachResponse],
) {
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		out := s.out
		s.out = nil
		batches := s.batches
		var answered []string
		if batches && len(out) > 0 {
			answered, s.answered = s.answered, nil
		}
		s.mu.Unlock()
		for len(out) > 0 {
			count := 1
			if batches {
				count = fitting(out)
			}
			s.stamp(out[:count])
			err := stream.Send(message(out[:count], answered))
			answered = nil
			if err != nil {
				// Recv tells why.
				if !errors.Is(err, io.EOF) {
					cancel(err)
				}
				return
			}
			out = out[count:]
		}
	}
}

// stamp takes note of when the renewals among these are sent: now.
func (s *session) stamp(out []outgoing) {
	for _, o := range out {
		if o.renewal != nil {
			s.mu.Lock()
			o.renewal.sent = s.client.settings.clock.Now()
			s.mu.Unlock()
		}
	}
}

// fitting is how many of these go in one message: at least one.
func fitting(out []outgoing) int {
	bytes := 0
	for i, o := range out {
		if bytes += proto.Size(o.message); i == batchMax || (i > 0 && bytes > batchBytesMax) {
			return i
		}
	}
	return len(out)
}

// message is one message of all these.
func message(out []outgoing, answered []string) *pb.AttachRequest {
	if len(out) == 1 && len(answered) == 0 {
		return out[0].message
	}
	batch := &pb.AttachBatch{
		Requests:           make([]*pb.AttachRequest, len(out)),
		AnsweredRequestIds: answered,
	}
	for i, o := range out {
		batch.Requests[i] = o.message
	}
	return &pb.AttachRequest{Call: &pb.AttachRequest_Batch{Batch: batch}}
}

// renew renews the lease again and again, and gives the stream up when that is not answered.
func (s *session) renew(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		s.mu.Lock()
		live := s.live
		s.mu.Unlock()
		if live && !sleep(ctx, s.renewEvery()) {
			return
		}
		s.endIfIdle()
		c := &call{
			done:    make(chan struct{}),
			message: &pb.AttachRequest{Call: &pb.AttachRequest_RenewLease{RenewLease: &pb.RenewLeaseRequest{}}},
		}
		s.mu.Lock()
		s.add(c)
		s.mu.Unlock()
		timer := time.NewTimer(s.answerWithin())
		select {
		case <-c.done:
			timer.Stop()
		case <-timer.C:
			cancel(errStalled)
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if !live && !sleep(ctx, pauseFirst) {
			return
		}
	}
}

// handle takes one message of the server's, or all those in it.
func (s *session) handle(message *pb.AttachResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = s.client.settings.clock.Now()
	if batch := message.GetBatch(); batch != nil {
		for _, each := range batch.GetAnswers() {
			s.take(each)
		}
		return
	}
	s.take(message)
}

// take takes one answer, or one piece of news.
func (s *session) take(message *pb.AttachResponse) {
	c := s.calls[message.GetCallId()]
	switch told := message.GetResult().(type) {
	case *pb.AttachResponse_GrantLost:
		if g := s.grants[told.GrantLost.GetFencingToken()]; g != nil {
			delete(s.grants, g.fencingToken)
			g.lose(lossCause(told.GrantLost.GetCause()))
		}
		s.early = slices.DeleteFunc(s.early, func(e early) bool {
			ended := e.grant.fencingToken == told.GrantLost.GetFencingToken()
			if ended {
				s.askAnew(e.call)
			}
			return ended
		})
	case *pb.AttachResponse_Closed:
		s.isClosed()
	case *pb.AttachResponse_Queued:
		if c != nil && c.place != nil {
			c.place.tell(told.Queued.GetPosition())
		}
	case *pb.AttachResponse_Acquired:
		if c != nil {
			s.settled(c)
			s.acquired(c, told.Acquired.GetGrant())
		}
	case *pb.AttachResponse_Released:
		if c != nil {
			s.settled(c)
			s.finish(c, nil, nil)
		}
	case *pb.AttachResponse_LeaseRenewed:
		if c != nil {
			s.confirm(c.sent, told.LeaseRenewed.GetExpiresIn())
			s.finish(c, nil, nil)
		}
	case *pb.AttachResponse_Error:
		if c != nil {
			s.failed(c, callError(told.Error))
		}
	}
}
