package notify

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/schedule"
	"github.com/securly/sync/services/ingest/internal/state"
)

// remind is how often it is told that a sync still waits.
const remind = 24 * time.Hour

// hostKeyChanged is the reason of a sync that has failed so.
const hostKeyChanged = "SFTP_HOST_KEY_CHANGED"

// telling is how things are with one source, and who is to know.
type telling struct {
	district   *ingestv1.District
	id         string
	source     *ingestv1.Source
	recipients []*ingestv1.Recipient
	hold       *ingestv1.Sync // waits for a person
	ended      *ingestv1.Sync // has succeeded or failed
	now        time.Time
	url        string
}

// update brings what was told to how things are, with the mails about it.
func (t *telling) update(d *ingestv1.NoticeDocument) {
	t.tellHold(d)
	if t.ended != nil && t.ended.GetSyncId() > d.GetSync() {
		d.Sync = t.ended.GetSyncId()
		t.tellEnd(d)
	}
	t.tellStale(d)
}

func (t *telling) tellHold(d *ingestv1.NoticeDocument) {
	if t.hold == nil {
		d.Hold, d.HoldTime = "", nil
		return
	}
	again := d.GetHold() == t.hold.GetSyncId()
	if again && t.now.Sub(d.GetHoldTime().AsTime()) < remind {
		return
	}
	d.Hold, d.HoldTime = t.hold.GetSyncId(), timestamppb.New(t.now)
	subject, text := "waits for your decision", &strings.Builder{}
	if again {
		subject = "still waits for your decision"
	}
	_, _ = fmt.Fprintf(text, "A sync of %s is on hold since %s. What it would do is not done before somebody decides.\n\n",
		t.sourceName(), t.time(t.held()))
	for _, r := range t.hold.GetHoldReasons() {
		_, _ = fmt.Fprintf(text, "- %s\n  What to do: %s\n", sentence(r.GetMessage()), r.GetNextStep())
	}
	t.mail(d, ingestv1.NotificationKind_HOLD, subject, text.String(), t.hold.GetSyncId())
}

// held is since when the sync is on hold.
func (t *telling) held() time.Time {
	steps := t.hold.GetSteps()
	if len(steps) == 0 {
		return t.now
	}
	return steps[len(steps)-1].GetStartTime().AsTime()
}

func (t *telling) tellEnd(d *ingestv1.NoticeDocument) {
	was := d.GetProblem()
	switch {
	case t.ended.GetState() == ingestv1.SyncState_COMPLETED:
		d.Problem = ingestv1.NotificationKind_NOTIFICATION_KIND_UNSPECIFIED
		if was != d.GetProblem() {
			t.recovered(d)
		}
	case t.ended.GetErrorReason() == hostKeyChanged:
		d.Problem = ingestv1.NotificationKind_HOST_KEY_CHANGED
		if was != d.GetProblem() {
			t.mail(d, d.GetProblem(), "its server shows another key", fmt.Sprintf(
				"The server of %s has another host key than the one that was confirmed, so nothing was sent to it and nothing is fetched. "+
					"It may have been set up anew, or somebody may be in between.\n\nAsk who runs the server whether the key was changed, compare the fingerprints, and confirm the new one.\n",
				t.sourceName()), t.ended.GetSyncId())
		}
	default:
		d.Problem = ingestv1.NotificationKind_FAILURE
		if was != d.GetProblem() {
			changed := "Nothing in the roster has changed."
			if t.ended.GetAppliedPart() != nil {
				changed = "A part of it was applied before."
			}
			t.mail(d, d.GetProblem(), "has failed", fmt.Sprintf(
				"The sync of %s that began on %s has failed. %s Later failures are not told again until a sync has succeeded.\n",
				t.sourceName(), t.time(t.ended.GetCreateTime().AsTime()), changed), t.ended.GetSyncId())
		}
	}
}

func (t *telling) recovered(d *ingestv1.NoticeDocument) {
	t.mail(d, ingestv1.NotificationKind_RECOVERY, "works again", fmt.Sprintf("The sync of %s has succeeded again.\n", t.sourceName()), t.ended.GetSyncId())
}

func (t *telling) tellStale(d *ingestv1.NoticeDocument) {
	since := t.source.GetStaleSince()
	switch {
	case since == nil && d.GetStaleSince() != nil:
		input := t.source.GetLastInputTime()
		if input != nil && input.AsTime().After(d.GetStaleSince().AsTime()) {
			t.mail(d, ingestv1.NotificationKind_RECOVERY, "delivers again", fmt.Sprintf("%s delivers again since %s.\n", t.sourceName(), t.time(input.AsTime())), "")
		}
		d.StaleSince = nil
	case since != nil && d.GetStaleSince() == nil:
		last := "never"
		if at := t.source.GetLastInputTime(); at != nil {
			last = t.time(at.AsTime())
		}
		d.StaleSince = since
		t.mail(d, ingestv1.NotificationKind_STALE, "has stopped to deliver", fmt.Sprintf(
			"Nothing new has come from %s for longer than it should take. The last new data: %s.\n\nLook whether the export still runs.\n", t.sourceName(), last), "")
	}
}

// mail adds a mail to each recipient who wants to know of such a thing. sync is
// what it links to; without one that is the source.
func (t *telling) mail(d *ingestv1.NoticeDocument, kind ingestv1.NotificationKind, what, text, sync string) {
	for _, r := range t.recipients {
		if len(r.GetKinds()) > 0 && !slices.Contains(r.GetKinds(), kind) {
			continue
		}
		d.Pending = append(d.Pending, &ingestv1.Notice{
			Id: state.NewID(), Recipient: r.GetEmail(), CreateTime: timestamppb.New(t.now),
			Subject: fmt.Sprintf("%s: %s %s", t.districtName(), t.sourceName(), what),
			Text:    text + "\n" + t.link(sync) + footer,
		})
	}
}

const footer = "\n--\nYou get this mail because your address is in the notification settings of the district.\n"

func (t *telling) link(sync string) string {
	if t.url == "" {
		return "Open Securly Sync to see more.\n"
	}
	to, err := url.JoinPath(t.url, "districts", t.id, "sources", t.source.GetSourceId())
	if sync != "" {
		to, err = url.JoinPath(t.url, "districts", t.id, "syncs", sync)
	}
	if err != nil { // it was checked at the start
		return ""
	}
	return "See more: " + to + "\n"
}

func (t *telling) districtName() string { return cmp.Or(t.district.GetDisplayName(), t.id) }

func (t *telling) sourceName() string {
	return cmp.Or(t.source.GetDisplayName(), t.source.GetSourceId())
}

func (t *telling) time(at time.Time) string {
	return at.In(schedule.Zone(t.district)).Format("Monday, 2 January 2006, 15:04 MST")
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// Test is a mail that shows that mails arrive.
func Test(d *ingestv1.District, id, to string, now time.Time) Mail {
	name := cmp.Or(d.GetDisplayName(), id)
	return Mail{
		ID: state.NewID(), To: to, Time: now, Subject: name + ": a test",
		Text: fmt.Sprintf("Somebody has asked for a test of the notifications of %s. Mails arrive here.\n", name) + footer,
	}
}
