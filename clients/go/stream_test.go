package holdfast

import (
	"slices"
	"strings"
	"testing"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

func waiting(count int, owner string) []outgoing {
	out := make([]outgoing, count)
	for i := range out {
		acquire := &pb.AcquireLockRequest{Lock: "x", Owner: owner}
		out[i].message = &pb.AttachRequest{
			CallId: uint64(i + 1),
			Call:   &pb.AttachRequest_AcquireLock{AcquireLock: acquire},
		}
	}
	return out
}

func TestABatchIsBoundedByNumberAndByBytes(t *testing.T) {
	for _, given := range []struct {
		count int
		owner string
		want  int
	}{
		{1, "", 1},
		{100, "", 100},
		{batchMax + 1, "", batchMax},
		{5, strings.Repeat("o", batchBytesMax*2/5), 2},
		{5, strings.Repeat("o", batchBytesMax*2), 1},
	} {
		if got := fitting(waiting(given.count, given.owner)); got != given.want {
			t.Errorf("%d of %d bytes each: %d fit, not %d", given.count, len(given.owner), got, given.want)
		}
	}
}

func TestABatchKeepsItsOrderAndOneMessageIsNone(t *testing.T) {
	batch := message(waiting(3, ""), nil)
	for i, each := range batch.GetBatch().GetRequests() {
		if each.GetCallId() != uint64(i+1) {
			t.Errorf("number %d in place %d", each.GetCallId(), i)
		}
	}
	if len(batch.GetBatch().GetRequests()) != 3 || batch.GetCallId() != 0 {
		t.Errorf("not a batch of three: %v", batch)
	}
	if one := message(waiting(1, ""), nil); one.GetAcquireLock() == nil {
		t.Errorf("not the message itself: %v", one)
	}
	one := message(waiting(1, ""), []string{"answered"}).GetBatch()
	if len(one.GetRequests()) != 1 || !slices.Equal(one.GetAnsweredRequestIds(), []string{"answered"}) {
		t.Errorf("the answered request goes with no batch: %v", one)
	}
}
