// Package openapi holds the OpenAPI 3 document of the HTTP API, generated from the protos.
package openapi

import _ "embed"

// JSON is the document, as served under /openapi.json.
//
//go:embed openapi.json
var JSON []byte
