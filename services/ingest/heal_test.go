package ingest_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/platform/errs"
)

// damage changes a byte of, or cuts off, the current layer file of an entity.
func (h *hub) damage(source, entity, how string) {
	h.t.Helper()
	found := false
	for _, name := range h.stored("layers/d/" + source + "/") {
		path := filepath.Join(h.files, name)
		text, err := os.ReadFile(path)
		require.NoError(h.t, err)
		switch {
		case how == "marks" && strings.HasSuffix(name, "/"+entity+".marks"):
			require.NoError(h.t, os.Remove(path))
			require.NoError(h.t, os.Mkdir(path, 0o700)) // cannot be read
		case !strings.HasSuffix(name, "/"+entity), how == "marks":
			continue
		case how == "changed":
			text[len(text)/2] ^= 0x10
			require.NoError(h.t, os.WriteFile(path, text, 0o600))
		case how == "cut":
			require.NoError(h.t, os.WriteFile(path, text[:len(text)/2], 0o600))
		case how == "gone":
			require.NoError(h.t, os.Remove(path))
		}
		found = true
	}
	require.True(h.t, found)
}

func TestACompletePackageHealsADamagedLayer(t *testing.T) {
	for _, how := range []string{"changed", "cut", "gone", "marks"} {
		for name, students := range map[string]int{"the same package": 20, "another package": 21} {
			t.Run(how+", "+name, func(t *testing.T) {
				h := newHub(t)
				h.completed(h.sync("sis", large(20)))
				h.damage("sis", "users", how)
				h.damage("sis", "enrollments", how)
				h.completed(h.sync("sis", large(students)))
				require.Len(t, h.roster.Active("d", users), students+2)
				require.Len(t, h.roster.Active("d", enrollments), students+2)
				h.completed(h.sync("sis", addition("new")))
				require.Len(t, h.roster.Active("d", users), students+3)
			})
		}
	}
}

// What is left out stays as it was, which nobody can tell any more: all of the plan
// waits, and nobody else waits for it.
func TestNothingIsLeftOutOfADamagedLayer(t *testing.T) {
	for mode, at := range map[ingestv1.HoldMode]string{ingestv1.HoldMode_HOLD_ALL: "", ingestv1.HoldMode_APPLY_SAFE: "SelectPlan done"} {
		t.Run(mode.String(), func(t *testing.T) {
			h := newHub(t)
			h.setMode(mode)
			first := h.completed(h.sync("sis", large(200)))
			damage := sync.OnceFunc(func() {
				require.NoError(t, os.Remove(filepath.Join(h.files, "layers/d/sis", first.GetSyncId(), "users")))
			})
			h.roster.FailWith(func(method string) error {
				if method == at {
					damage()
				}
				return nil
			})
			held := h.sync("sis", fewer())
			part := &ingestv1.ApproveSyncRequest{Sync: held.GetSyncId(), WithoutRemovals: true}
			if at == "" {
				damage()
				require.NoError(t, h.approvePart(part))
				held = h.wait(held.GetSyncId(), ingestv1.SyncState_ON_HOLD)
			}
			require.Equal(t, ingestv1.SyncState_ON_HOLD, held.GetState())
			require.Nil(t, held.GetAppliedPart())
			require.EqualValues(t, 1, h.roster.Revision("d"), "nothing was committed")
			require.ErrorIs(t, h.approvePart(part), errs.New(codes.FailedPrecondition, "LAYER_DAMAGED", ""))
			h.through(held)
			require.Len(t, h.active("users", ""), 53)
			h.newSource("second", nil)
			h.completed(h.sync("second", extras(1)))
		})
	}
}

func TestADamagedLayerFailsSyncsThatNeedIt(t *testing.T) {
	h := newHub(t)
	h.newSource("second", nil)
	h.completed(h.sync("sis", large(20)))
	other := with(map[string]string{"manifest.csv": ""})
	other["users.csv"] = strings.ReplaceAll(other["users.csv"], "\nu", "\nx")
	h.completed(h.sync("second", other))
	h.damage("sis", "users", "changed")
	changed := with(map[string]string{"manifest.csv": "", "users.csv": other["users.csv"] + strings.ReplaceAll(strings.SplitAfter(other["users.csv"], "\n")[1], "x1,", "x3,")})
	for source, files := range map[string]map[string]string{"sis": addition("new"), "second": changed} {
		s := h.sync(source, files)
		require.Equal(t, ingestv1.SyncState_FAILED, s.GetState(), source)
		require.Contains(t, s.GetError(), "users of source sis is damaged: upload a complete package to source sis", source)
	}
	h.completed(h.sync("sis", large(20)))
	h.completed(h.sync("second", other))
	require.Len(t, h.roster.Active("d", users), 24)
}

// Users without the file of their roles keep the roles they had: without these
// there is no rebuilding them.
func TestADamagedLayerIsNotRebuiltFromHalfOfIt(t *testing.T) {
	h := newHub(t)
	files := with(map[string]string{
		"manifest.csv": "",
		"users.csv":    "sourcedId,enabledUser,username,givenName,familyName,email\nu1,true,zoe,Zoé,Müller,zoe@made-up.example\nu2,true,tom,Tom,Tree,tom@made-up.example\n",
		"roles.csv":    "sourcedId,userSourcedId,roleType,role,beginDate,endDate,orgSourcedId\nr1,u1,primary,student,,,s\nr2,u2,primary,teacher,,,s\n",
	})
	h.completed(h.sync("sis", files))
	h.damage("sis", "users", "cut")
	roles := files["roles.csv"]
	delete(files, "roles.csv")
	require.Equal(t, ingestv1.SyncState_FAILED, h.sync("sis", files).GetState())
	files["roles.csv"] = roles
	h.completed(h.sync("sis", files))
	require.Equal(t, "teacher", h.roster.Active("d", users)["u2"].GetUser().GetRoles()[0].GetRole())
}
