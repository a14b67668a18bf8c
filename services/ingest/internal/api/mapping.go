package api

import (
	"errors"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
	"github.com/securly/sync/services/ingest/internal/mapping"
)

// checkMapping refuses what is no mapping; field is where it stands.
func checkMapping(field string, m *ingestv1.Mapping) (*mapping.Mapping, error) {
	out, err := onerostercsv.Mapping(m)
	var fault *mapping.Error
	if errors.As(err, &fault) {
		return nil, invalid(field+"."+fault.Field, "%s", fault.Message)
	}
	return out, err
}
