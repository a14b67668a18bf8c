package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/securly/sync/deploy/hubtest"
	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
)

const district = "yardstick"

// syncs measures from the first byte of the upload to the committed revision.
func (t *table) syncs(ctx context.Context, hub *hubtest.Hub, c *hubtest.Client, days packages, reports bool) error {
	sync := func(zip string, changes bool) (usage, error) {
		return t.measure(hub, func() error { return synced(ctx, c, zip, changes) })
	}
	u, err := sync(days.firstZip, true)
	if err != nil {
		return err
	}
	t.against("first sync / sqlite3 .import", u, t.sqlite, 1, 0.5)
	// The report that follows a commit by itself would run beside the next sync.
	if _, err := t.measure(hub, func() error { return report(ctx, c) }); err != nil {
		return err
	}
	if u, err = sync(days.shuffledZip, false); err != nil {
		return err
	}
	t.against("sync again, rows in another order / encoding/csv", u, t.csv, 3, 1.5)
	if u, err = sync(days.changedZip, true); err != nil {
		return err
	}
	t.against("sync again, 1 % changed / encoding/csv", u, t.csv, 4, 2)
	if u, err = t.measure(hub, func() error { return report(ctx, c) }); err != nil || !reports {
		return err
	}
	t.absolute("readiness report after a 1 % commit", seconds(u.took), u, "≤ 0.300 s", "≤ 0.050 s")
	return nil
}

func report(ctx context.Context, c *hubtest.Client) error {
	r, err := c.RunReport(ctx, district)
	if err == nil && (r.State != "COMPLETED" || len(r.Checks) == 0) {
		err = fmt.Errorf("%s ended %s: %s", r.Name, r.State, r.Error)
	}
	return err
}

// reads measures the export of everything and pages of the Data Viewer.
func (t *table) reads(ctx context.Context, hub *hubtest.Hub, c *hubtest.Client) error {
	records := 0
	u, err := t.measure(hub, func() (err error) {
		records, err = export(ctx, hub, c)
		return err
	})
	if err != nil {
		return err
	}
	t.absolute(fmt.Sprintf("full gRPC export, one stream, %d records decoded", records),
		fmt.Sprintf("%.0f records/s", float64(records)/u.took.Seconds()), u, "≥ 400000/s", "≥ 1000000/s")
	var times []time.Duration
	u, err = t.measure(hub, func() (err error) {
		times, err = pages(ctx, c, 100)
		return err
	})
	if err != nil {
		return err
	}
	t.absolute("Data Viewer page over HTTP, 99th percentile", seconds(percentile99(times)), u, "≤ 0.020 s", "≤ 0.005 s")
	u, err = t.measure(hub, func() (err error) {
		times, err = schools(ctx, c, 500)
		return err
	})
	if err != nil {
		return err
	}
	t.absolute("list of schools with their status over HTTP, 99th percentile", seconds(percentile99(times)), u, "≤ 0.020 s", "≤ 0.005 s")
	return nil
}

func percentile99(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)*99/100]
}

// schools asks so often for the first page of the schools, and returns how long
// each took.
func schools(ctx context.Context, c *hubtest.Client, times int) (took []time.Duration, err error) {
	for range times {
		var page struct{ Schools []struct{ SchoolID string } }
		start := time.Now()
		if err := c.Call(ctx, http.MethodGet, "/v1/districts/"+district+"/schools:status", nil, &page); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
		if len(page.Schools) == 0 {
			return nil, errors.New("the list of schools is empty")
		}
	}
	return took, nil
}

// export reads a whole district in one stream and counts its records.
func export(ctx context.Context, hub *hubtest.Hub, c *hubtest.Client) (records int, err error) {
	conn, err := grpc.NewClient(hub.GRPCAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if ctx, err = c.Authorize(ctx); err != nil {
		return 0, err
	}
	stream, err := rosterv1.NewRosterServiceClient(conn).Export(ctx, &rosterv1.ExportRequest{District: district}, grpc.MaxCallRecvMsgSize(16<<20))
	if err != nil {
		return 0, err
	}
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return 0, fmt.Errorf("export: %w", err)
		}
		records += len(batch.GetRecords())
	}
}

// pages asks so often for a random page with each search field of the Data
// Viewer, and returns how long each took.
func pages(ctx context.Context, c *hubtest.Client, times int) ([]time.Duration, error) {
	var users struct {
		Users []struct {
			SourcedID, Email string
			Roles            []struct{ Org struct{ SourcedID string } }
		}
	}
	var enrollments struct {
		Enrollments []struct {
			SourcedID   string
			User, Class struct{ SourcedID string }
		}
	}
	base := "/v1/districts/" + district
	if err := c.Call(ctx, http.MethodGet, base+"/users?pageSize=1000", nil, &users); err != nil {
		return nil, err
	}
	if err := c.Call(ctx, http.MethodGet, base+"/enrollments?pageSize=1000", nil, &enrollments); err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable on purpose
	queries := []func() string{
		func() string { return "/users?" },
		func() string { return "/users?sourcedId=" + url.QueryEscape(users.Users[r.IntN(1000)].SourcedID) },
		func() string {
			return "/users?role=" + []string{"student", "teacher", "administrator", "guardian"}[r.IntN(4)]
		},
		func() string { return "/users?email=" + url.QueryEscape(users.Users[r.IntN(1000)].Email) },
		func() string {
			u := users.Users[r.IntN(1000)]
			if len(u.Roles) == 0 {
				return "/users?"
			}
			return "/users?role=student&orgId=" + url.QueryEscape(u.Roles[0].Org.SourcedID)
		},
		func() string { return "/users?q=" + string(rune('a'+r.IntN(26))) + string(rune('a'+r.IntN(26))) },
		func() string { return "/enrollments?role=student" },
		func() string {
			return "/enrollments?classId=" + url.QueryEscape(enrollments.Enrollments[r.IntN(1000)].Class.SourcedID)
		},
		func() string {
			return "/enrollments?userId=" + url.QueryEscape(enrollments.Enrollments[r.IntN(1000)].User.SourcedID)
		},
		func() string { return "/demographics?role=student" },
		func() string { return "/classes?" },
		func() string { return "/courses?" },
		func() string { return "/academicSessions?" },
		func() string { return "/orgs?" },
	}
	var took []time.Duration
	for i := range times * len(queries) {
		path := base + queries[i%len(queries)]()
		start := time.Now()
		if err := c.Call(ctx, http.MethodGet, path, nil, nil); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

// watch measures from the commit's own time stamp to the end of the revision at a watcher.
func (t *table) watch(ctx context.Context, hub *hubtest.Hub, c *hubtest.Client, days packages) error {
	conn, err := grpc.NewClient(hub.GRPCAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var head struct{ Revisions []struct{ Revision int32 } }
	if err := c.Call(ctx, http.MethodGet, "/v1/districts/"+district+"/revisions", nil, &head); err != nil {
		return err
	}
	if ctx, err = c.Authorize(ctx); err != nil {
		return err
	}
	stream, err := rosterv1.NewRosterServiceClient(conn).Watch(ctx, &rosterv1.WatchRequest{District: district, After: head.Revisions[0].Revision}, grpc.MaxCallRecvMsgSize(16<<20))
	if err != nil {
		return err
	}
	arrived := make(chan error, 1)
	var took time.Duration
	go func() {
		var committed time.Time
		for {
			m, err := stream.Recv()
			if err != nil {
				arrived <- fmt.Errorf("watch: %w", err)
				return
			}
			if b := m.GetBegin(); b != nil {
				committed = b.GetCommitTime().AsTime()
			}
			if m.GetEnd() != nil {
				took = time.Since(committed)
				arrived <- nil
				return
			}
		}
	}()
	if _, err := t.measure(hub, func() error { return synced(ctx, c, days.firstZip, true) }); err != nil {
		return err
	}
	if err := <-arrived; err != nil {
		return err
	}
	t.absolute("commit to the whole revision at a watcher (1 % changed)", seconds(took), usage{}, "≤ 1.000 s", "≤ 0.100 s")
	return nil
}
