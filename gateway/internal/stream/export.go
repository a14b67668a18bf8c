package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	rosterv1 "github.com/securly/sync/proto/gen/securly/sync/roster/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/errs"
	"github.com/securly/sync/services/platform/record"
)

const (
	// revisionHeader names the revision that an export holds.
	revisionHeader = "Securly-Sync-Revision"
	// The last record of an export that broke off.
	afterEntity    = "afterEntity"
	afterSourcedID = "afterSourcedId"
)

// Export answers with the whole roster at one revision, a record on each line:
// {"entity":"users","record":{…}}. An export that broke off goes on after the
// last whole line, with the revision of its header as asOf.
func Export(rosters rosterv1.RosterServiceClient) func(http.ResponseWriter, *http.Request, map[string]string) error {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) error {
		query := r.URL.Query()
		if err := allow(query, "asOf", "entities", afterEntity, afterSourcedID); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		req := &rosterv1.ExportRequest{District: params["district"]}
		for _, list := range query["entities"] {
			req.Entities = append(req.Entities, strings.Split(list, ",")...)
		}
		for _, name := range req.Entities {
			if _, err := record.ParseEntity(name); err != nil {
				return invalid("entities", "%w", err)
			}
		}
		var err error
		if req.Revision, err = revisionAt(ctx, rosters, req.GetDistrict(), query.Get("asOf")); err != nil {
			return err
		}
		if query.Has(afterEntity) || query.Has(afterSourcedID) {
			if req.GetRevision() == 0 {
				return invalid("asOf", "is required to go on: take it from the header %s of the answer that broke off", revisionHeader)
			}
			if _, err := record.ParseEntity(query.Get(afterEntity)); err != nil {
				return invalid(afterEntity, "%w", err)
			}
			req.After = &rosterv1.RecordKey{Entity: query.Get(afterEntity), SourcedId: query.Get(afterSourcedID)}
		}
		out, err := rosters.Export(ctx, req)
		if err != nil {
			return err
		}
		return Copy(w, out.Recv, func(first *rosterv1.ExportResponse) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%d.ndjson"`, req.GetDistrict(), first.GetRevision()))
			w.Header().Set(revisionHeader, strconv.Itoa(int(first.GetRevision())))
		}, func(batch *rosterv1.ExportResponse) ([]byte, error) {
			var lines []byte
			for _, rec := range batch.GetRecords() {
				line, err := envelope(rec)
				if err != nil {
					return nil, err
				}
				lines = append(append(lines, line...), '\n')
			}
			return lines, nil
		})
	}
}

// revisionAt resolves "", a revision or a time. The store knows how to read a time, and says at
// which revision it has answered; 0 stands for the newest.
func revisionAt(ctx context.Context, rosters rosterv1.RosterServiceClient, district, asOf string) (int32, error) {
	if asOf == "" {
		return 0, nil
	}
	if n, err := strconv.ParseInt(asOf, 10, 32); err == nil && n > 0 {
		return int32(n), nil
	}
	page, err := rosters.ListRecords(ctx, &rosterv1.ListRecordsRequest{
		District: district, Entity: record.EntityName(typev1.Entity_ENTITY_ORGS), PageSize: 1, AsOf: asOf,
	})
	if err != nil {
		return 0, err
	}
	if page.GetRevision() == 0 {
		return 0, invalid("asOf", "the district had no roster yet at %s", asOf)
	}
	return page.GetRevision(), nil
}

// envelope writes a record with the name of its entity, on one line.
func envelope(r *typev1.Record) ([]byte, error) {
	entity, _ := record.Of(r)
	inner, err := record.JSON(r)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(struct {
		Entity string          `json:"entity"`
		Record json.RawMessage `json:"record"`
	}{record.EntityName(entity), inner})
	if err != nil {
		return nil, fmt.Errorf("write a record as JSON: %w", err)
	}
	return line, nil
}

// allow refuses parameters that are not known, as the rest of the API does.
func allow(query url.Values, names ...string) error {
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(names, name) {
			return invalid(name, "there is no such parameter here")
		}
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return errs.Errorf(codes.InvalidArgument, "PARAMETER_INVALID", "query parameter %q: "+format, append([]any{field}, args...)...).
		With("field", field)
}
