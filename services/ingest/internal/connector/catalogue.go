// Package connector is the catalogue of ways to get at rosters.
package connector

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/structpb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
)

// OneRosterCSV is the connector for uploaded OneRoster CSV packages.
const OneRosterCSV = "oneroster-csv"

// All returns the catalogue.
func All() []*ingestv1.Connector { return []*ingestv1.Connector{oneRosterCSV()} }

// Known tells whether there is a connector with this id.
func Known(id string) bool {
	return slices.ContainsFunc(All(), func(c *ingestv1.Connector) bool { return c.GetConnectorId() == id })
}

var modes = []string{"auto", "bulk", "delta"}

func oneRosterCSV() *ingestv1.Connector {
	choices := make([]any, len(modes))
	for i, m := range modes {
		choices[i] = m
	}
	schema, err := structpb.NewStruct(map[string]any{
		"type":                 "object",
		"additionalProperties": false,
		"properties": map[string]any{
			"mode": map[string]any{
				"type": "string", "enum": choices, "default": "auto", "title": "How to read the files",
				"description": "auto follows the manifest; bulk takes every file as a complete copy; delta takes every file as changes",
			},
		},
	})
	if err != nil {
		panic(fmt.Sprintf("the settings schema is a constant: %v", err))
	}
	return &ingestv1.Connector{
		ConnectorId: OneRosterCSV, DisplayName: "OneRoster CSV", Kind: "upload",
		Description:    "A OneRoster 1.1 or 1.2 package, as a zip or as CSV files, uploaded by hand or by a program.",
		SettingsSchema: schema,
		Required: []*ingestv1.DataRequirement{
			{File: "users.csv", Reason: "students, staff and guardians"},
			{File: "classes.csv", Reason: "the classes that products show"},
			{File: "enrollments.csv", Reason: "who is in which class"},
		},
		Recommended: []*ingestv1.DataRequirement{
			{File: "manifest.csv", Reason: "says which files are complete and which hold changes"},
			{File: "orgs.csv", Reason: "the names of schools"},
			{File: "academicSessions.csv", Reason: "when classes begin and end"},
			{File: "courses.csv", Reason: "subjects and grades of classes"},
			{File: "demographics.csv", Reason: "birth dates, where a product needs them"},
			{File: "users.csv", Column: "email", Reason: "most products sign people in by email"},
			{File: "users.csv", Column: "agentSourcedIds", Reason: "links students to their guardians, for Home and On-Call"},
			{File: "enrollments.csv", Column: "endDate", Reason: "when a student leaves a class"},
		},
	}
}

// CheckSettings checks the settings of a source against the connector's schema.
func CheckSettings(settings *structpb.Struct) (field string, err error) {
	for name, value := range settings.GetFields() {
		if name != "mode" {
			return name, fmt.Errorf("there is no such setting; the connector's settings_schema lists them")
		}
		text, ok := value.GetKind().(*structpb.Value_StringValue)
		if !ok || !slices.Contains(modes, text.StringValue) {
			return name, fmt.Errorf("must be one of %v", modes)
		}
	}
	return "", nil
}
