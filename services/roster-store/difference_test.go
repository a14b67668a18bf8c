package rosterstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/platform/testkit"
)

// A candidate is taken as a difference from the head, and from nothing else.
func TestDifferenceFromTheHead(t *testing.T) {
	c := start(t)
	ctx := testkit.As(t, t.Context(), testkit.Service())
	_, err := c.OpenDistrict(ctx, &rosterv1.OpenDistrictRequest{District: "d"})
	require.NoError(t, err)
	commit(ctx, t, c, "d", "first", school("s1"), student("A", "s1"), student("B", "s1"), student("C", "s1"))
	head, err := c.ListRevisions(ctx, &rosterv1.ListRevisionsRequest{District: "d"})
	require.NoError(t, err)
	committed := head.GetRevisions()[0].GetCommitTime()

	changed := student("B", "s1")
	changed.GetUser().GivenName = "Other"
	body, err := proto.Marshal(changed)
	require.NoError(t, err)
	hash := record.HashOf(changed)
	difference := func(h *rosterv1.PlanHeader) (*rosterv1.Plan, error) {
		h.District, h.Plan = "d", "difference"
		stream, err := c.Import(ctx)
		require.NoError(t, err)
		_ = stream.Send(&rosterv1.ImportRequest{Message: &rosterv1.ImportRequest_Header{Header: h}}) // the answer says why
		_ = stream.Send(&rosterv1.ImportRequest{Message: &rosterv1.ImportRequest_Batch{Batch: &rosterv1.ImportBatch{
			Entity: typev1.Entity_ENTITY_USERS, Records: []*rosterv1.ImportRecord{{SourcedId: "A"}, {SourcedId: "B", Hash: hash[:], Body: body}},
		}}})
		return stream.CloseAndRecv()
	}
	for name, h := range map[string]*rosterv1.PlanHeader{
		"another revision": {BaseRevision: 2, BaseCommitTime: committed},
		"another time":     {BaseRevision: 1, BaseCommitTime: timestamppb.New(committed.AsTime().Add(-time.Second))},
		"no time":          {BaseRevision: 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := difference(h)
			wantCode(t, err, codes.FailedPrecondition, "BASE_MOVED")
			_, err = c.GetPlan(ctx, &rosterv1.GetPlanRequest{District: "d", Plan: "difference"})
			wantCode(t, err, codes.NotFound, "PLAN_NOT_FOUND")
		})
	}
	for name, h := range map[string]*rosterv1.PlanHeader{
		"complete as well":       {BaseRevision: 1, BaseCommitTime: committed, Complete: record.Entities()},
		"fewer than none":        {BaseRevision: 1, BaseCommitTime: committed, Unsent: map[string]int32{"users": -1}},
		"an entity that is none": {BaseRevision: 1, BaseCommitTime: committed, Unsent: map[string]int32{"dogs": 1}},
		"removed from a whole":   {Complete: record.Entities()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := difference(h)
			wantCode(t, err, codes.InvalidArgument, "INVALID_ARGUMENT")
		})
	}
	p, err := difference(&rosterv1.PlanHeader{BaseRevision: 1, BaseCommitTime: committed, Unsent: map[string]int32{"users": 1, "orgs": 1}})
	require.NoError(t, err)
	users := p.GetCounts()["users"]
	require.Equal(t, []int32{2, 0, 1, 1, 1}, []int32{users.GetReceived(), users.GetCreated(), users.GetUpdated(), users.GetRemoved(), users.GetUnchanged()})
	require.EqualValues(t, 1, p.GetCounts()["orgs"].GetUnchanged())
}
