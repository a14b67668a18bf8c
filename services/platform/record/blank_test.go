package record_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

func TestBlankKeepsWhatOthersFollowFrom(t *testing.T) {
	for e, r := range full(t) {
		before := proto.CloneOf(r)
		blank := record.Blank(r)
		require.True(t, proto.Equal(before, r), "the record itself stays")
		_, base := record.Of(r)
		got, kept := record.Of(blank)
		require.Equal(t, e, got)
		require.Equal(t, base.GetSourcedId(), kept.GetSourcedId())
		require.Equal(t, base.GetStatus(), kept.GetStatus())
		require.Equal(t, base.GetDateLastModified(), kept.GetDateLastModified())
		require.True(t, proto.Equal(blank, record.Blank(blank)), "nothing is left to blank")
		text, err := record.JSON(blank)
		require.NoError(t, err)
		switch e {
		case typev1.Entity_ENTITY_USERS:
			require.Equal(t, r.GetUser().GetRoles()[1].GetOrg().GetSourcedId(), blank.GetUser().GetRoles()[1].GetOrg().GetSourcedId())
			require.Equal(t, r.GetUser().GetRoles()[1].GetRole(), blank.GetUser().GetRoles()[1].GetRole())
			require.Equal(t, r.GetUser().GetAgents()[1].GetSourcedId(), blank.GetUser().GetAgents()[1].GetSourcedId())
			for _, gone := range []string{"name", "email", "phone", "sms", "identifier", "metadata", "address", "relationship.", "grades", "profile"} {
				require.NotContains(t, strings.ToLower(string(text)), gone)
			}
		case typev1.Entity_ENTITY_DEMOGRAPHICS:
			require.Nil(t, kept.GetMetadata())
			require.Empty(t, blank.GetDemographics().GetBirthDate())
		default:
			require.Same(t, r, blank)
		}
	}
}
