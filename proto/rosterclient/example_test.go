package rosterclient_test

import (
	"context"
	"fmt"
	"maps"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/proto/rosterclient"
)

// emails is a product's copy of a district: all that this product wants of a
// user is the email. In a database the fields would be tables, and a change a
// transaction.
type emails struct {
	revision rosterclient.Revision
	byID     map[string]string
	changed  chan struct{}
}

func (e *emails) Revision(context.Context) (rosterclient.Revision, error) { return e.revision, nil }

func (e *emails) Begin(_ context.Context, r rosterclient.Revision) (rosterclient.Tx, error) {
	c := &change{copy: e, revision: r, byID: map[string]string{}}
	if !r.Whole {
		maps.Copy(c.byID, e.byID)
	}
	return c, nil
}

type change struct {
	copy     *emails
	revision rosterclient.Revision
	byID     map[string]string
}

func (c *change) Put(_ context.Context, r *typev1.Record) error {
	if u := r.GetUser(); u.GetStatus() == "active" {
		c.byID[u.GetSourcedId()] = u.GetEmail()
	} else if u != nil {
		delete(c.byID, u.GetSourcedId())
	}
	return nil
}

func (c *change) Commit(context.Context) error {
	c.copy.revision, c.copy.byID = c.revision, c.byID
	c.copy.changed <- struct{}{}
	return nil
}

func (c *change) Rollback(context.Context) error { return nil }

// A product that keeps the emails of a district's users up to date.
func Example() {
	hub := startHub() // made up, for this example
	defer hub.stop()

	client, err := rosterclient.Dial(rosterclient.Config{
		Addr:      hub.addr,
		TokenURL:  hub.tokenURL,
		ClientID:  "product",
		Plaintext: true, // only because this hub is on the same machine

		ClientSecret: "made-up",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	ctx, stop := context.WithCancel(context.Background())
	copied := &emails{changed: make(chan struct{})}
	done := make(chan error)
	go func() { done <- client.Follow(ctx, "maple", copied) }()

	<-copied.changed
	fmt.Println("revision", copied.revision.Number, copied.byID)
	hub.commit("bo@example.org") // the district has a new user
	<-copied.changed
	fmt.Println("revision", copied.revision.Number, copied.byID)

	stop()
	fmt.Println(<-done)
	// Output:
	// revision 1 map[u1:ann@example.org]
	// revision 2 map[u1:ann@example.org u2:bo@example.org]
	// context canceled
}
