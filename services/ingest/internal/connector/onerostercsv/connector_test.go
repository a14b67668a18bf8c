package onerostercsv_test

import (
	"testing"

	"github.com/securly/sync/services/ingest/internal/connector/connectortest"
	"github.com/securly/sync/services/ingest/internal/connector/onerostercsv"
)

func TestConnector(t *testing.T) { connectortest.Run(t, onerostercsv.Connector{}, nil) }
