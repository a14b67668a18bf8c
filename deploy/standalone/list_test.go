package standalone_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/securly/sync/services/platform/authn"
	"github.com/securly/sync/services/platform/errs"
)

// Every list of every service refuses the same page sizes.
func TestListsRefuseANegativePageSize(t *testing.T) {
	h := start(t, t.TempDir())
	secret, err := os.ReadFile(h.DataDir() + "/service-secret")
	require.NoError(t, err)
	operator, ingest := h.as(t, clientID, clientSecret, ""), h.as(t, "service:ingest", strings.TrimSpace(string(secret)), "")
	ensure(operator, ingest, t, h.conn, "lakeside")
	lists := 0
	for _, m := range authn.Methods() {
		size := m.Descriptor.Input().Fields().ByName("page_size")
		if size == nil || m.Descriptor.IsStreamingServer() { // CSV of a whole list takes the list's request.
			continue
		}
		lists++
		t.Run(strings.TrimPrefix(m.Name, "/securly.sync."), func(t *testing.T) {
			req, resp := newMessage(t, m.Descriptor.Input()), newMessage(t, m.Descriptor.Output())
			setDistrict(req.ProtoReflect(), "lakeside")
			if entity := m.Descriptor.Input().Fields().ByName("entity"); entity != nil {
				req.ProtoReflect().Set(entity, protoreflect.ValueOfString("users"))
			}
			req.ProtoReflect().Set(size, protoreflect.ValueOfInt32(-1))
			ctx := operator
			if m.Permission.GetScope() == "internal.import" {
				ctx = ingest
			}
			var e *errs.Error
			require.ErrorAs(t, h.conn.Invoke(ctx, m.Name, req, resp), &e)
			require.Equal(t, "PAGE_SIZE_INVALID", e.Reason, e)
			require.Equal(t, "pageSize", e.Detail("field"))
		})
	}
	require.Positive(t, lists)
}
