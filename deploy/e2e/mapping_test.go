package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A district whose files have names and columns of their own: what is suggested
// is previewed, saved and synced.
func TestMapping(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, h hub) {
		h.newDistrict(t, "own-csv")
		const source = "/v1/districts/own-csv/sources/sis"
		call := func(method, path string, in, out any) {
			t.Helper()
			require.NoError(t, h.Call(t.Context(), method, path, in, out))
		}
		call("PATCH", source, map[string]any{"mapping": map[string]any{}}, nil)
		files := []string{
			saved(t, "students.csv", "StudentID,First,Last,Grade,School,Email\n007,Zoé,Müller,5,North,zoe@made-up.example\n8,Ann,Oak,K,North,\n"),
			saved(t, "staff.csv", "ID,First,Last,Title,School\n100,Tom,Tree,Teacher,North\n101,Pia,Pine,Nurse,North\n"),
			saved(t, "schedule.csv", "SectionID,CourseTitle,School,StudentID,TeacherID\n1,Art,North,007,100\n1,Art,North,8,100\n"),
		}
		answer, err := h.Upload(t.Context(), "own-csv", "sis", files...)
		require.NoError(t, err)
		require.Equal(t, 200, answer.Status, string(answer.Body))

		var looked struct {
			Files      []map[string]any `json:"files"`
			Suggestion map[string]any   `json:"suggestion"`
			Entities   []struct {
				Entity    string           `json:"entity"`
				Records   []map[string]any `json:"records"`
				Uncovered []map[string]any `json:"uncovered"`
			} `json:"entities"`
		}
		call("POST", source+":previewMapping", map[string]any{}, &looked)
		require.Len(t, looked.Files, 3)
		require.Empty(t, looked.Entities)
		mapping := looked.Suggestion
		require.NotEmpty(t, mapping["records"])
		call("POST", source+":previewMapping", map[string]any{"mapping": mapping}, &looked)
		for _, e := range looked.Entities {
			if e.Entity == "users" {
				require.Len(t, e.Records, 3)
				require.Equal(t, "007", e.Records[0]["sourcedId"])
				require.Equal(t, []map[string]any{{"file": "staff.csv", "column": "Title", "field": "role", "value": "Nurse", "rows": 1.0}}, e.Uncovered)
			}
		}
		var kept struct {
			Mapping map[string]any `json:"mapping"`
		}
		call("PATCH", source, map[string]any{"mapping": mapping}, &kept)
		require.Equal(t, mapping, kept.Mapping, "what is read can be written")
		var test struct {
			OK     bool           `json:"ok"`
			Counts map[string]int `json:"counts"`
		}
		call("POST", source+":test", map[string]any{}, &test)
		require.True(t, test.OK)
		require.Equal(t, 4, test.Counts["users"])
		require.Equal(t, 1, test.Counts["classes"])

		h.sync(t, "own-csv", files...)
		var users struct {
			TotalSize int `json:"totalSize"`
		}
		h.get(t, "/v1/districts/own-csv/users?role=student", &users)
		require.Equal(t, 2, users.TotalSize)

		bad := map[string]any{"mapping": map[string]any{"records": []any{map[string]any{"entity": "users", "file": "students.csv", "fields": map[string]any{"email": map[string]any{"value": "{Email"}}}}}}
		answer, err = h.Do(t.Context(), "PATCH", source, bad)
		require.NoError(t, err)
		require.Equal(t, 400, answer.Status)
		require.Contains(t, string(answer.Body), "mapping.records[0].fields.email.value")
	})
}
