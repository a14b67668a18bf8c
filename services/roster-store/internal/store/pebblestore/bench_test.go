package pebblestore_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/securly/sync/proto/gen/securly/sync/type/v1"
	"github.com/securly/sync/services/platform/record"
	"github.com/securly/sync/services/roster-store/internal/store"
)

// The benchmarks work on a made-up district in the proportions of a real one:
// per student ten enrollments, 1.5 guardians, demographics. The number of
// students is 10,000, or STORE_BENCH_STUDENTS.
func benchStudents() int {
	if n, err := strconv.Atoi(os.Getenv("STORE_BENCH_STUDENTS")); err == nil {
		return n
	}
	return 10_000
}

// roster is an encoded candidate: what Import gets, ready to be sent.
type roster struct {
	data    []byte
	records int
}

func (r *roster) add(e typev1.Entity, id string, rec *typev1.Record) {
	hash := record.HashOf(rec)
	body, err := proto.Marshal(rec)
	if err != nil {
		panic(err)
	}
	r.data = append(r.data, byte(e))
	r.data = append(binary.AppendUvarint(r.data, uint64(len(id))), id...)
	r.data = append(r.data, hash[:]...)
	r.data = append(binary.AppendUvarint(r.data, uint64(len(body))), body...)
	r.records++
}

func (r *roster) all() iter.Seq2[store.ImportRecord, error] {
	return func(yield func(store.ImportRecord, error) bool) {
		for b := r.data; len(b) > 0; {
			rec := store.ImportRecord{Entity: store.Entity(b[0])}
			n, k := binary.Uvarint(b[1:])
			b = b[1+k:]
			rec.ID, b = string(b[:n]), b[n:]
			rec.Hash, b = record.Hash(b), b[record.HashSize:]
			n, k = binary.Uvarint(b)
			rec.Body, b = b[k:k+int(n):k+int(n)], b[k+int(n):]
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// makeRoster is the roster after so many nights, each of which has changed
// one record in a hundred.
func makeRoster(students, nights int) *roster {
	r := &roster{data: make([]byte, 0, students*3200)}
	rnd := rand.New(rand.NewPCG(1, 2))
	schools := students/800 + 1
	ref := func(format string, n int) *typev1.Ref { return &typev1.Ref{SourcedId: fmt.Sprintf(format, n)} }
	seen := 0
	mark := func() map[string]string {
		m := map[string]string{"sisKey": strconv.FormatUint(rnd.Uint64(), 16)}
		// Night 1 changes those with numbers 100, 200, …, night 2 others.
		seen++
		for n := nights; n > 0; n-- {
			if (seen+37*(n-1))%100 == 0 {
				m["changed"] = strconv.Itoa(n)
				break
			}
		}
		return m
	}
	for i := range schools {
		id := fmt.Sprintf("school-%04d", i)
		r.add(typev1.Entity_ENTITY_ORGS, id, &typev1.Record{Record: &typev1.Record_Org{Org: &typev1.Org{
			SourcedId: id, Status: "active", Name: "School " + id, Type: "school", Metadata: mark(),
		}}})
	}
	nCourses, nClasses := schools*8, students*2/5+1
	for i := range nCourses {
		id := fmt.Sprintf("course-%05d", i)
		r.add(typev1.Entity_ENTITY_COURSES, id, &typev1.Record{Record: &typev1.Record_Course{Course: &typev1.Course{
			SourcedId: id, Status: "active", Title: "Course " + id, Org: ref("school-%04d", i%schools), Metadata: mark(),
		}}})
	}
	for i := range nClasses {
		id := fmt.Sprintf("class-%06d", i)
		r.add(typev1.Entity_ENTITY_CLASSES, id, &typev1.Record{Record: &typev1.Record_Class{Class: &typev1.Class{
			SourcedId: id, Status: "active", Title: "Algebra " + id, ClassType: "scheduled", Course: ref("course-%05d", i%nCourses),
			School: ref("school-%04d", i%schools), Terms: []*typev1.Ref{{SourcedId: "term-1"}}, Metadata: mark(),
		}}})
	}
	given := []string{"Ada", "Ben", "Carla", "Dev", "Eva", "Finn", "Gia", "Hugo", "Ines", "Jon", "Kay", "Leo"}
	family := func() string { return "Family" + strconv.Itoa(rnd.IntN(5000)) }
	nTeachers, nGuardians := students/16+1, students*3/2
	for i := range nGuardians {
		addUser(r, fmt.Sprintf("u-guardian-%07d", i), "guardian", given[rnd.IntN(12)], family(), fmt.Sprintf("school-%04d", i%schools), nil, mark())
	}
	for i := range students {
		addUser(r, fmt.Sprintf("u-student-%07d", i), "student", given[rnd.IntN(12)], family(), fmt.Sprintf("school-%04d", i%schools),
			[]string{fmt.Sprintf("u-guardian-%07d", i), fmt.Sprintf("u-guardian-%07d", nGuardians-1-i/2)}, mark())
	}
	for i := range nTeachers {
		addUser(r, fmt.Sprintf("u-teacher-%06d", i), "teacher", given[rnd.IntN(12)], family(), fmt.Sprintf("school-%04d", i%schools), nil, mark())
	}
	for i := range students * 10 {
		id := fmt.Sprintf("enr-%08d", i)
		e := &typev1.Enrollment{
			SourcedId: id, Status: "active", Role: "student", User: ref("u-student-%07d", i/10), Class: ref("class-%06d", (i*7+i/10)%nClasses),
			School: ref("school-%04d", (i/10)%schools), BeginDate: "2026-08-17", EndDate: "2027-06-04", Metadata: mark(),
		}
		if i%25 == 0 {
			e.Role, e.User = "teacher", ref("u-teacher-%06d", i%nTeachers)
		}
		r.add(typev1.Entity_ENTITY_ENROLLMENTS, id, &typev1.Record{Record: &typev1.Record_Enrollment{Enrollment: e}})
	}
	for i := range students {
		id := fmt.Sprintf("u-student-%07d", i)
		r.add(typev1.Entity_ENTITY_DEMOGRAPHICS, id, &typev1.Record{Record: &typev1.Record_Demographics{Demographics: &typev1.Demographics{
			SourcedId: id, Status: "active", BirthDate: "2012-04-05", Sex: "female", Metadata: mark(),
		}}})
	}
	return r
}

func addUser(r *roster, id, role, given, family, school string, agents []string, metadata map[string]string) {
	u := &typev1.User{
		SourcedId: id, Status: "active", Username: id, GivenName: given, FamilyName: family, Email: id + "@example.org",
		PrimaryOrg: &typev1.Ref{SourcedId: school}, Metadata: metadata,
		Roles: []*typev1.Role{{RoleType: "primary", Role: role, Org: &typev1.Ref{SourcedId: school}}},
	}
	for _, a := range agents {
		u.Agents = append(u.Agents, &typev1.Relationship{SourcedId: a, Relationship: "mother", ContactType: "parent"})
	}
	r.add(typev1.Entity_ENTITY_USERS, id, &typev1.Record{Record: &typev1.Record_User{User: u}})
}

// load imports and commits a roster, and returns the plan.
func load(b testing.TB, s store.Store, d store.DistrictID, id store.PlanID, r *roster) store.Plan {
	b.Helper()
	ctx := context.Background()
	plan, err := s.Import(ctx, store.PlanHeader{District: d, Plan: id, Complete: record.Entities()}, r.all())
	require.NoError(b, err)
	_, err = s.Commit(ctx, d, id, 0)
	require.NoError(b, err)
	return plan
}

// rate reports records per second.
func rate(b *testing.B, records int) {
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkFirstLoad(b *testing.B) {
	r := makeRoster(benchStudents(), 0)
	runtime.GC()
	for b.Loop() {
		b.StopTimer()
		s := open(b, b.TempDir())
		require.NoError(b, s.OpenDistrict(b.Context(), "d"))
		b.StartTimer()
		plan := load(b, s, "d", "first", r)
		require.Equal(b, r.records, plan.Changes())
		b.StopTimer()
		require.NoError(b, s.Close())
		b.StartTimer()
	}
	rate(b, r.records)
}

// BenchmarkNextDay imports the roster again, without a change and with one
// record in a hundred changed, and commits.
func BenchmarkNextDay(b *testing.B) {
	days := []*roster{makeRoster(benchStudents(), 0), makeRoster(benchStudents(), 1)}
	s := open(b, b.TempDir())
	defer s.Close()
	require.NoError(b, s.OpenDistrict(b.Context(), "d"))
	load(b, s, "d", "first", days[0])
	n := 0
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			n++
			require.Zero(b, load(b, s, "d", store.PlanID(strconv.Itoa(n)), days[0]).Changes())
		}
		rate(b, days[0].records)
	})
	today := 0
	b.Run("changed", func(b *testing.B) {
		for b.Loop() {
			n++
			today = 1 - today
			require.Equal(b, days[0].records/100, load(b, s, "d", store.PlanID(strconv.Itoa(n)), days[today]).Changes())
		}
		rate(b, days[0].records)
	})
}

func BenchmarkRead(b *testing.B) {
	students := benchStudents()
	r := makeRoster(students, 0)
	s := open(b, b.TempDir())
	defer s.Close()
	require.NoError(b, s.OpenDistrict(b.Context(), "d"))
	load(b, s, "d", "first", r)
	records := r.records
	r = nil
	runtime.GC()
	head := s.Snapshot("d", 1, store.Scope{All: true})
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for _, err := range head.Scan(b.Context(), store.Position{}) {
				require.NoError(b, err)
				n++
			}
			require.Equal(b, records, n)
		}
		rate(b, records)
	})
	rnd := rand.New(rand.NewPCG(1, 1))
	school := func() string { return fmt.Sprintf("school-%04d", rnd.IntN(students/800+1)) }
	student := func() string { return fmt.Sprintf("u-student-%07d", rnd.IntN(students)) }
	const u, e = typev1.Entity_ENTITY_USERS, typev1.Entity_ENTITY_ENROLLMENTS
	for name, query := range map[string]func() store.Query{
		"all":           func() store.Query { return store.Query{Entity: e} },
		"email":         func() store.Query { return store.Query{Entity: u, Email: student() + "@example.org"} },
		"enrollmentsOf": func() store.Query { return store.Query{Entity: e, UserID: student()} },
		"role":          func() store.Query { return store.Query{Entity: e, Role: "teacher"} },
		"roleInSchool":  func() store.Query { return store.Query{Entity: u, Role: "student", SchoolID: school()} },
		"activeInSchool": func() store.Query {
			return store.Query{Entity: e, Status: "active", Role: "student", SchoolID: school()}
		},
		"activeStudents": func() store.Query { return store.Query{Entity: e, Status: "active", Role: "student"} },
		"name":           func() store.Query { return store.Query{Entity: u, Text: "family" + strconv.Itoa(100+rnd.IntN(400))} },
		"letter":         func() store.Query { return store.Query{Entity: u, Text: "f"} },
	} {
		b.Run(name, func(b *testing.B) {
			var times []time.Duration
			for b.Loop() {
				start := time.Now()
				p, err := head.Page(b.Context(), query(), "", 100)
				times = append(times, time.Since(start))
				require.NoError(b, err)
				require.NotZero(b, p.Total)
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(times[len(times)-1].Microseconds())/1000, "max-ms")
		})
	}
}
