package catalogue_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/catalogue"
)

// What a vendor begins a source with is what its connector takes.
func TestVendors(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range catalogue.List().GetVendors() {
		t.Run(v.GetVendorId(), func(t *testing.T) {
			require.False(t, seen[v.GetVendorId()])
			seen[v.GetVendorId()] = true
			require.NotEmpty(t, v.GetDisplayName())
			require.NotEmpty(t, v.GetInstructions())
			c := catalogue.Get(v.GetConnector())
			require.NotNil(t, c)
			d, set := c.Describe(), proto.CloneOf(v.GetDefaultSettings())
			if d.GetKind() == connector.Pull { // where from is the district's to say
				set.Fields["host"], set.Fields["user"] = structpb.NewStringValue("files.example"), structpb.NewStringValue("hub")
			}
			field, err := d.CheckSettings(set)
			require.NoError(t, err, field)
		})
	}
}
