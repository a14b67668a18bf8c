package mongostore

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/mongodb"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
	"github.com/securly/sync/services/roster-store/internal/store/search"
)

// ErasePerson implements store.Upkeep. It is decided in the log; if the process
// dies then, the next writer or Open does the rest before anything else, so that
// no commit builds on what is to go. An import that is under way blanks what it
// has staged of the person, after each batch; of one that dies between the two,
// the batch goes with the staging, when that is swept up.
//
// What the servers keep of their own past is beyond any client of MongoDB: the
// oplog until it wraps around, the journal until the next checkpoints, the files
// until their space is used again (compact), and backups for as long as the
// operator keeps them.
func (s *Store) ErasePerson(ctx context.Context, id store.DistrictID, userID string) error {
	c, end, err := s.begin(ctx, id)
	if err != nil {
		return err
	}
	defer end()
	return c.fail(c.erasePerson(userID), "erasure of a person")
}

func (c *call) erasePerson(userID string) error {
	end, err := c.alone()
	if err != nil {
		return err
	}
	defer end()
	known, err := c.knows(userID)
	if err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("user %q: %w", userID, store.ErrRecordUnknown)
	}
	e, err := c.decide(func(e *entry) (bool, error) {
		e.Kind, e.Record, e.Pending = kindForget, userID, true
		e.Erasures++
		return true, nil
	})
	if err != nil {
		return err
	}
	return c.forget(e)
}

// personal are the entities that are about one person.
var personal = []store.Entity{users, demographics}

// knows tells whether anything was ever kept or staged of a person.
func (c *call) knows(userID string) (bool, error) {
	owners, err := c.owners()
	if err != nil {
		return false, err
	}
	for _, e := range personal {
		v, err := one[version](c.ctx, c.s.versions(e), ofPerson(owners, userID),
			findOne(indexRecord).SetProjection(bson.D{{Key: "_id", Value: 1}}))
		if err != nil || v != nil {
			return v != nil, err
		}
	}
	return false, nil
}

// owners are all that own versions of the district: itself and its stagings.
func (c *call) owners() ([]string, error) {
	owners := []string{c.key}
	err := each(c.ctx, c.s.db.Collection(collStagings), bson.D{{Key: "d", Value: c.key}}, func(doc stagingDoc) error {
		owners = append(owners, stagedOwner(c.key, doc.Token))
		return nil
	}, find(indexStaging))
	return owners, err
}

func ofPerson(owners []string, userID string) bson.D {
	return bson.D{in("d", owners), {Key: "id", Value: userID}}
}

// forget does what an entry of the log has decided: it blanks a person. Doing it
// again changes nothing.
func (c *call) forget(e entry) error {
	owners, err := c.owners()
	if err != nil {
		return err
	}
	if err := c.blank(owners, e.Record); err != nil {
		return err
	}
	return c.done(indexID, bson.D{{Key: "_id", Value: e.ID}, {Key: "d", Value: e.Owner}})
}

func (c *call) blank(owners []string, userID string) error {
	for _, e := range personal {
		if err := each(c.ctx, c.s.versions(e), ofPerson(owners, userID), func(v version) error {
			if v.Erased {
				return nil
			}
			if err := v.blank(e); err != nil {
				return err
			}
			_, err := c.s.versions(e).UpdateOne(c.ctx, v.itself(), bson.D{{Key: "$set", Value: bson.D{
				{Key: "b", Value: v.Body}, {Key: "t", Value: v.Terms}, {Key: "e", Value: true},
			}}})
			return mongodb.Wordless(err)
		}, find(indexRecord)); err != nil {
			return fmt.Errorf("blank %s: %w", record.EntityName(e), err)
		}
	}
	return nil
}

// blank takes from a version what says who the person is. What other records
// follow from stays, so their terms stay as they are.
func (v *version) blank(e store.Entity) error {
	rec, err := v.decode(e)
	if err != nil {
		// Nobody can read it; it goes all the same.
		rec = &typev1.Record{Record: &typev1.Record_User{User: &typev1.User{SourcedId: v.Record}}}
		if e == demographics {
			rec.Record = &typev1.Record_Demographics{Demographics: &typev1.Demographics{SourcedId: v.Record}}
		}
		record.SetStatus(rec, record.StatusActive)
		if v.Tombstone {
			record.SetStatus(rec, record.StatusToBeDeleted)
		}
	}
	rec = record.Blank(rec)
	v.Terms = append(ownTerms(e, search.FactsOf(rec)),
		slices.DeleteFunc(v.Terms, func(t string) bool { return !isDerived(e, t) })...)
	if v.Body, err = proto.Marshal(rec); err != nil {
		return fmt.Errorf("encode a blank record: %w", err)
	}
	return nil
}

// decode reads a stored body. Its error is not the caller's and so goes to the
// log: it does not name the record. Check does.
func (v *version) decode(e store.Entity) (*typev1.Record, error) {
	rec, err := search.Decode(e, v.Record, v.Body)
	if err != nil {
		return nil, fmt.Errorf("a stored body among %s is damaged: check the district", record.EntityName(e))
	}
	return rec, nil
}
