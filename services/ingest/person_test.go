package ingest_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/ingest/internal/state"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/testkit"
)

// holding lists the files that the service keeps under a prefix and that hold
// any of some words.
func (h *hub) holding(prefix string, words ...string) []string {
	h.t.Helper()
	var out []string
	for _, name := range h.stored(prefix) {
		raw, err := os.ReadFile(filepath.Join(h.files, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // tidied up just now
		}
		require.NoError(h.t, err)
		text := [][]byte{raw}
		if plain, ok := testkit.LayerText(h.t, raw); ok {
			text = append(text, plain)
		}
		if z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw))); err == nil {
			for _, f := range z.File {
				in, err := f.Open()
				require.NoError(h.t, err)
				plain, err := io.ReadAll(in)
				require.NoError(h.t, err)
				text = append(text, plain)
			}
		}
		for _, w := range words {
			if bytes.Contains(bytes.Join(text, nil), []byte(w)) {
				out = append(out, name)
				break
			}
		}
	}
	return out
}

// altered is a sound package with one thing changed.
func altered(file, old, new string) map[string]string {
	files := maps.Clone(sound())
	files[file] = strings.ReplaceAll(files[file], old, new)
	return files
}

func (h *hub) erase(user string) (*ingestv1.ErasePersonResponse, error) {
	h.t.Helper()
	return h.upkeep.ErasePerson(h.ctx, &ingestv1.ErasePersonRequest{District: "d", SourcedId: user})
}

func (h *hub) user(id string) *typev1.User {
	return h.roster.Active("d", typev1.Entity_ENTITY_USERS)[id].GetUser()
}

func TestAnErasedPerson(t *testing.T) {
	h := newHub(t)
	words := []string{"Zoé", "Müller", "zoe@made-up"}
	h.upload("sis", altered("users.csv", "u1,", "other,")) // has another user and the enrollment of u1
	h.completed(h.sync("sis", sound()))
	without := sound()
	delete(without, "users.csv")
	delete(without, "enrollments.csv")
	h.upload("sis", without)
	require.Len(t, h.holding("uploads", "Zoé"), 2)
	require.NotEmpty(t, h.holding("layers", words...))

	done, err := h.erase("u1")
	require.NoError(t, err)
	require.EqualValues(t, 1, done.GetLayerFiles())
	require.EqualValues(t, 2, done.GetPackages())
	require.Empty(t, h.holding("", words...))
	require.Len(t, h.stored("uploads"), 1, "a package without the person stays")
	require.Empty(t, h.user("u1").GetGivenName())
	require.Equal(t, []string{"u1"}, h.readiness.persons)
	require.EqualValues(t, 2, done.GetRevision(), "products are told")
	require.EqualValues(t, 2, h.roster.Revision("d"))

	t.Run("who still delivers the same changes nothing", func(t *testing.T) {
		s := h.completed(h.sync("sis", sound()))
		require.Zero(t, s.GetRevision())
		require.Empty(t, h.holding("layers", words...))
		require.Empty(t, h.user("u1").GetGivenName())
	})
	t.Run("also if others change", func(t *testing.T) {
		s := h.completed(h.sync("sis", altered("users.csv", "Tom,Tree", "Tom,Forest")))
		require.EqualValues(t, 1, s.GetCounts()["users"].GetUpdated())
		require.Empty(t, h.holding("layers", words...))
		require.Empty(t, h.user("u1").GetGivenName())
		require.Equal(t, "Forest", h.user("u2").GetFamilyName())
	})
	t.Run("who delivers something else brings that", func(t *testing.T) {
		s := h.completed(h.sync("sis", altered("users.csv", "Müller", "Mueller")))
		require.EqualValues(t, 2, s.GetCounts()["users"].GetUpdated())
		require.Equal(t, "Mueller", h.user("u1").GetFamilyName())
		_, err := h.erase("u1")
		require.NoError(t, err)
		require.Empty(t, h.holding("", "Mueller", "Zoé"))
	})
	t.Run("and leaves with its district", func(t *testing.T) {
		h.deleteDistrict()
		require.Empty(t, h.stored(""))
		for doc, err := range state.New(h.docs).Erasures.All(t.Context(), "") {
			require.NoError(t, err)
			t.Errorf("%s is left", doc.ID)
		}
	})
}

// Roles and profiles come in files of their own, which need not come each time.
func TestAnErasedPersonWhoseRolesComeAlone(t *testing.T) {
	manifest := "propertyName,value\nmanifest.version,1.0\noneroster.version,1.2\n"
	header := "sourcedId,status,dateLastModified,enabledUser,username,givenName,familyName,email,grades\n"
	zoe := "u1,active,2026-08-01T00:00:00.000Z,true,zoe,Zoé,Müller,zoe@made-up.example,05\n"
	role := "sourcedId,status,dateLastModified,userSourcedId,roleType,role,beginDate,endDate,orgSourcedId,userProfileSourcedId\n"
	complete := with(map[string]string{
		"manifest.csv": "",
		"users.csv":    header + zoe + "u2,active,2026-08-01T00:00:00.000Z,true,tom,Tom,Tree,tom@made-up.example,\n",
		"roles.csv": role + "r1,active,2026-08-01T00:00:00.000Z,u1,primary,student,2026-08-15,2027-06-15,s,p1\n" +
			"r2,active,2026-08-01T00:00:00.000Z,u1,secondary,student,2026-08-15,2027-06-15,d,\n" +
			"r3,active,2026-08-01T00:00:00.000Z,u1,secondary,student,2025-08-15,2026-06-15,d,\n" +
			"r4,active,2026-08-01T00:00:00.000Z,u2,primary,teacher,,,s,\n",
		"userProfiles.csv": "sourcedId,userSourcedId,profileType,vendorId,applicationId,description,credentialType,username,password\n" +
			"p1,u1,learning,vendor,app,,oauth,zoe-m,secret-word\n",
	})
	without := func(names ...string) map[string]string {
		files := maps.Clone(complete)
		for _, name := range names {
			delete(files, name)
		}
		return files
	}
	for name, files := range map[string]map[string]string{
		"the same":         complete,
		"no roles":         without("roles.csv"),
		"no profiles":      without("userProfiles.csv"),
		"neither":          without("roles.csv", "userProfiles.csv"),
		"profiles alone":   {"manifest.csv": manifest + "file.userProfiles,delta\n", "userProfiles.csv": complete["userProfiles.csv"]},
		"changes of users": {"manifest.csv": manifest + "file.users,delta\n", "users.csv": header + zoe},
		"changes of roles": {"manifest.csv": manifest + "file.roles,delta\n", "roles.csv": role + "r1,active,2026-09-01T00:00:00.000Z,u1,primary,student,2026-08-16,2027-06-15,s,p1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			h.completed(h.sync("sis", complete))
			require.NotEmpty(t, h.user("u1").GetUserProfiles())
			done, err := h.erase("u1")
			require.NoError(t, err)
			require.EqualValues(t, 2, done.GetRevision())
			s := h.completed(h.sync("sis", files))
			require.Zero(t, s.GetRevision(), "%v", s.GetCounts())
			u := h.user("u1")
			require.Empty(t, u.GetGivenName()+u.GetEmail()+strings.Join(u.GetGrades(), ""), "%v", u)
			require.Empty(t, u.GetUserProfiles())
			require.Empty(t, h.holding("layers", "Zoé", "zoe-m", "2026-08-16"))
			require.Zero(t, h.completed(h.sync("sis", complete)).GetRevision())
			require.Empty(t, h.user("u1").GetGivenName())
		})
	}
}

// What hashes of other rules recognise is not known any more.
func TestAnErasedPersonUnderNewRules(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	_, err := h.erase("u1")
	require.NoError(t, err)
	erasures := state.New(h.docs).Erasures
	_, err = erasures.Modify(t.Context(), "d/u1", func(d *ingestv1.ErasureDocument) error {
		require.Len(t, d.GetRecords(), 1)
		d.Records[0].Rules, d.Records[0].Hash = "others", bytes.Repeat([]byte{1}, 16)
		return nil
	})
	require.NoError(t, err)
	for range 2 {
		require.Zero(t, h.completed(h.sync("sis", sound())).GetRevision())
		require.Empty(t, h.user("u1").GetGivenName())
	}
	doc, err := erasures.Get(t.Context(), "d/u1")
	require.NoError(t, err)
	require.Len(t, doc.Value.GetRecords(), 1)
	require.NotEqual(t, "others", doc.Value.GetRecords()[0].GetRules())
	h.completed(h.sync("sis", altered("users.csv", "Müller", "Mueller")))
	require.Equal(t, "Mueller", h.user("u1").GetFamilyName(), "other data are other data again")
}

// A package that names a person in a list only has it all the same.
func TestAPackageThatListsAnErasedPerson(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	for _, list := range []string{`"x,u1"`, `"u1; x"`, `"xu1,u1x,u 1"`} {
		h.upload("sis", map[string]string{"users.csv": "sourcedId,agentSourcedIds\nx," + list + "\n"})
	}
	done, err := h.erase("u1")
	require.NoError(t, err)
	require.EqualValues(t, 3, done.GetPackages())
	require.Len(t, h.stored("uploads"), 1)
}

func TestErasingAPersonOfNoDistrict(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	_, err := h.erase("nobody")
	require.ErrorIs(t, err, errs.New(codes.NotFound, "RECORD_NOT_FOUND", ""))
	_, err = h.erase("")
	require.ErrorIs(t, err, errs.New(codes.InvalidArgument, "INVALID_ARGUMENT", ""))
	require.Len(t, h.stored("uploads"), 1)
	_, err = state.New(h.docs).Erasures.Get(t.Context(), "d/nobody")
	require.Error(t, err, "nothing is left to do")
}

// A plan that waits for a person has the data too.
func TestErasingAPersonOfAPlanOnHold(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	next := altered("users.csv", "Müller", "Mueller")
	delete(next, "classes.csv")
	next["orgs.csv"] = strings.ReplaceAll(next["orgs.csv"], "s,,,Made-up School,school,,d\n", "")
	next["classes.csv"] = sound()["classes.csv"]
	s := h.sync("sis", next)
	require.Equal(t, ingestv1.SyncState_ON_HOLD, s.GetState())
	require.NotEmpty(t, h.holding("layers", "Mueller"))
	_, err := h.erase("u1")
	require.NoError(t, err)
	require.Empty(t, h.holding("", "Mueller", "Müller", "Zoé"))
	// The plan is made anew, because it was from before the erasure, and is approved again.
	for _, next := range []ingestv1.SyncState{ingestv1.SyncState_ON_HOLD, ingestv1.SyncState_COMPLETED} {
		_, err = h.syncs.ApproveSync(h.ctx, &ingestv1.ApproveSyncRequest{District: "d", Sync: s.GetSyncId()})
		require.NoError(t, err)
		h.wait(s.GetSyncId(), next, ingestv1.SyncState_FAILED)
	}
	h.completed(h.get(s.GetSyncId()))
	require.Empty(t, h.user("u1").GetGivenName())
	require.Empty(t, h.holding("layers", "Mueller", "Müller", "Zoé"))
}

// An erasure that a process did not live to finish is finished by the next.
func TestAnErasureThatIsBrokenOff(t *testing.T) {
	for _, at := range []string{"ErasePersonRecords", "ErasePersonRecords done"} {
		t.Run(at, func(t *testing.T) {
			h := newHub(t)
			h.completed(h.sync("sis", sound()))
			down := errs.New(codes.Unavailable, "DOWN", "down")
			h.roster.FailWith(func(method string) error {
				if method == at {
					return down
				}
				return nil
			})
			_, err := h.erase("u1")
			require.ErrorIs(t, err, down)
			h.stop()
			h.roster.FailWith(nil)
			h.start()
			require.Eventually(t, func() bool {
				doc, err := state.New(h.docs).Erasures.Get(t.Context(), "d/u1")
				return err == nil && doc.Value.GetEndTime() != nil
			}, testkit.Wait, 5*time.Millisecond)
			require.Empty(t, h.user("u1").GetGivenName())
			require.Empty(t, h.holding("", "Zoé"))
			require.EqualValues(t, 2, h.roster.Revision("d"), "products are told once")
		})
	}
}

// A sync that is being read when a person is to be erased comes first.
func TestErasingAPersonWaitsForASync(t *testing.T) {
	h := newHub(t)
	h.completed(h.sync("sis", sound()))
	reached, release := make(chan struct{}), make(chan struct{})
	h.roster.FailWith(func(method string) error {
		if method == "Import" {
			close(reached)
			<-release
			h.roster.FailWith(nil)
		}
		return nil
	})
	h.upload("sis", altered("users.csv", "Müller", "Mueller"))
	id := h.startSync("sis").GetSyncId()
	<-reached
	erased := make(chan error, 1)
	go func() {
		_, err := h.erase("u1")
		erased <- err
	}()
	require.Eventually(t, func() bool {
		doc, err := state.New(h.docs).Erasures.Get(t.Context(), "d/u1")
		return !errors.Is(err, errs.New(codes.NotFound, "DOCUMENT_NOT_FOUND", "")) && doc.Value.GetEndTime() == nil
	}, testkit.Wait, time.Millisecond)
	close(release)
	require.NoError(t, <-erased)
	h.completed(h.wait(id))
	require.Empty(t, h.user("u1").GetGivenName())
	require.Empty(t, h.holding("", "Mueller", "Müller", "Zoé"))
}

// Whoever waits for one source keeps nobody from the others, and whoever erases
// has all of them until the end.
func TestErasingAPersonHoldsAllOrNothing(t *testing.T) {
	h := newHub(t)
	h.newSource("other", nil)
	h.completed(h.sync("sis", sound()))
	others := &state.Leases{Store: state.New(h.docs), Holder: "other", Life: time.Hour, Now: time.Now}
	pulling, err := others.Acquire(t.Context(), state.SourceLease("d", "other"))
	require.NoError(t, err)
	var held []error
	h.roster.FailWith(func(method string) error {
		if method == "ErasePersonRecords done" {
			for _, lease := range []string{state.SourceLease("d", "other"), state.SourceLease("d", "sis"), state.CommitLease("d")} {
				_, err := others.Acquire(context.WithoutCancel(t.Context()), lease)
				held = append(held, err)
			}
		}
		return nil
	})
	erased := make(chan error, 1)
	go func() {
		_, err := h.erase("u1")
		erased <- err
	}()
	require.Eventually(t, func() bool {
		_, err := state.New(h.docs).Erasures.Get(t.Context(), "d/u1")
		return err == nil
	}, testkit.Wait, time.Millisecond)
	h.completed(h.sync("sis", altered("users.csv", "Tom,Tree", "Tom,Forest")))
	require.NoError(t, pulling.Release(t.Context()))
	require.NoError(t, <-erased)
	require.Len(t, held, 3)
	for _, err := range held {
		require.ErrorIs(t, err, state.ErrBusy)
	}
	require.Empty(t, h.holding("", "Müller", "Zoé"))
}
