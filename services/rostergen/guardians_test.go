package rostergen_test

import (
	"bytes"
	"encoding/csv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/securly/sync/services/rostergen"
)

// What a guardian file leads to is counted anew, from its rows and those of users.
func TestGuardiansAreAsCounted(t *testing.T) {
	for _, cfg := range []rostergen.Config{
		{Students: 500, Flaws: rostergen.Realistic(500)}, {Students: 300, Flaws: rostergen.Each(3), Day: 4, ChangeShare: 0.1},
	} {
		d, err := rostergen.New(cfg)
		require.NoError(t, err)
		var text bytes.Buffer
		want, err := d.WriteGuardians(&text)
		require.NoError(t, err)
		var again bytes.Buffer
		_, err = d.WriteGuardians(&again)
		require.NoError(t, err)
		require.Equal(t, text.String(), again.String())

		users := map[string]bool{}
		for row := range d.Rows("users") {
			users[row[0]] = true
		}
		rows, err := csv.NewReader(&text).ReadAll()
		require.NoError(t, err)
		var got rostergen.Guardians
		students, guardians := map[string]bool{}, map[string]bool{}
		pairs := map[[2]string]bool{}
		for _, row := range rows[1:] {
			if got.Rows++; !users[row[0]] {
				continue
			}
			got.Matched++
			students[row[0]], pairs[[2]string(row[:2])] = true, true
			if !guardians[row[1]] && users[row[1]] {
				got.Known++
			} else if !guardians[row[1]] {
				got.Created++
			}
			guardians[row[1]] = true
		}
		got.Students, got.Relationships = len(students), len(pairs)
		require.Equal(t, want, got)
		require.Less(t, got.Matched, got.Rows)
		require.Positive(t, got.Created)
	}
}
