package sharing

import (
	"cmp"
	"slices"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
)

// Choices returns the values that rules can have for the records of a source.
func Choices(records Records) (*ingestv1.SharingChoices, error) {
	out := &ingestv1.SharingChoices{Grades: map[string]int32{}, ClassTypes: map[string]int32{}}
	for e, do := range map[typev1.Entity]func(*typev1.Record){
		typev1.Entity_ENTITY_ORGS: func(rec *typev1.Record) {
			if o := rec.GetOrg(); o.GetType() == "school" {
				out.Schools = append(out.Schools, &ingestv1.SchoolChoice{SchoolId: o.GetSourcedId(), Name: o.GetName()})
			}
		},
		typev1.Entity_ENTITY_CLASSES: func(rec *typev1.Record) {
			if kind := rec.GetClass().GetClassType(); kind != "" {
				out.ClassTypes[kind]++
			}
		},
		typev1.Entity_ENTITY_USERS: func(rec *typev1.Record) {
			if only(rec.GetUser().GetRoles(), record.FamilyStudent) {
				for _, g := range rec.GetUser().GetGrades() {
					out.Grades[g]++
				}
			}
		},
	} {
		if err := each(records, e, do); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out.Schools, func(a, b *ingestv1.SchoolChoice) int {
		return cmp.Or(cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetSchoolId(), b.GetSchoolId()))
	})
	return out, nil
}
