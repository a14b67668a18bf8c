// Package catalogue lists the connectors, and the vendors whose exports they
// read.
package catalogue

import (
	_ "embed" // the vendors
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector"
	"github.com/securly/sync/services/ingest/internal/connector/manual"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/connector/sftpdrop"
	"github.com/securly/sync/services/ingest/internal/connector/sftppull"
)

// All are the connectors, in the order in which they are offered.
var All = []connector.Connector{
	onerostercsv.Connector{},
	sftppull.Connector{},
	sftpdrop.Connector{},
	manual.Connector{},
}

// Get returns a connector, or nil if there is none with this id.
func Get(id string) connector.Connector {
	for _, c := range All {
		if c.Describe().GetConnectorId() == id {
			return c
		}
	}
	return nil
}

// Puller returns a connector if it is one that fetches packages itself.
func Puller(id string) (connector.Puller, bool) {
	p, ok := Get(id).(connector.Puller)
	return p, ok
}

// Manual tells whether the records of a connector are entered by hand.
func Manual(id string) bool {
	c := Get(id)
	return c != nil && c.Describe().GetKind() == connector.Manual
}

//go:embed vendors.yaml
var vendorsText []byte

var vendors = readVendors()

// readVendors panics if there is a fault in the file, since it is a constant of
// the program.
func readVendors() []*ingestv1.Vendor {
	var entries []any
	if err := yaml.Unmarshal(vendorsText, &entries); err != nil {
		panic(fmt.Sprintf("vendors.yaml: %v", err))
	}
	text, err := json.Marshal(map[string]any{"vendors": entries})
	if err != nil {
		panic(fmt.Sprintf("vendors.yaml: %v", err))
	}
	var list ingestv1.ListConnectorsResponse
	if err := protojson.Unmarshal(text, &list); err != nil {
		panic(fmt.Sprintf("vendors.yaml: %v", err))
	}
	return list.GetVendors()
}

// List returns the whole catalogue.
func List() *ingestv1.ListConnectorsResponse {
	out := &ingestv1.ListConnectorsResponse{Vendors: vendors}
	for _, c := range All {
		out.Connectors = append(out.Connectors, c.Describe().Connector)
	}
	return out
}
