package onerostercsv

import (
	_ "embed" // the description

	"github.com/securly/sync/services/ingest/internal/connector"
)

//go:embed connector.json
var description []byte

var described = connector.Describe(description)

// Connector is the connector of uploaded packages.
type Connector struct{}

// Describe returns its description.
func (Connector) Describe() *connector.Description { return described }
