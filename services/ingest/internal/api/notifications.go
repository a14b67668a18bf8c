package api

import (
	"context"
	"errors"
	"net/mail"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/securly/sync/proto/gen/securly/sync/ingest/v1"
	"github.com/securly/sync/services/ingest/internal/notify"
	"github.com/securly/sync/services/platform/docstore"
	"github.com/securly/sync/services/platform/errs"
)

const (
	maxRecipients = 50
	maxAddress    = 254
)

// notifications implements NotificationService.
type notifications struct {
	ingestv1.UnimplementedNotificationServiceServer
	Deps
}

func (s *notifications) GetNotificationSettings(ctx context.Context, req *ingestv1.GetNotificationSettingsRequest) (*ingestv1.NotificationSettings, error) {
	if _, err := s.Store.District(ctx, req.GetDistrict()); err != nil {
		return nil, err
	}
	doc, err := s.Store.Notifications.Get(ctx, req.GetDistrict())
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	return s.view(doc), nil
}

func (s *notifications) view(doc docstore.Doc[*ingestv1.NotificationDocument]) *ingestv1.NotificationSettings {
	return &ingestv1.NotificationSettings{Recipients: doc.Value.GetSettings().GetRecipients(), MailOff: s.Mail == nil, Etag: etag(doc.Version)}
}

func (s *notifications) UpdateNotificationSettings(ctx context.Context, req *ingestv1.UpdateNotificationSettingsRequest) (*ingestv1.NotificationSettings, error) {
	next := proto.CloneOf(req.GetSettings())
	if err := checkRecipients(next.GetRecipients()); err != nil {
		return nil, err
	}
	if _, err := s.Store.District(ctx, req.GetDistrict()); err != nil {
		return nil, err
	}
	doc, err := s.Store.Notifications.Get(ctx, req.GetDistrict())
	absent := isNotFound(err)
	if err != nil && !absent {
		return nil, err
	}
	if err := checkEtag(next.GetEtag(), etag(doc.Version)); err != nil {
		return nil, err
	}
	d := &ingestv1.NotificationDocument{District: req.GetDistrict(), Settings: &ingestv1.NotificationSettings{Recipients: next.GetRecipients()}}
	if absent {
		doc, err = s.Store.Notifications.Create(ctx, req.GetDistrict(), d)
	} else {
		doc.Value = d
		doc, err = s.Store.Notifications.Update(ctx, doc)
	}
	if errors.Is(err, docstore.ErrExists) || errors.Is(err, docstore.ErrConflict) {
		return nil, checkEtag("another", etag(doc.Version))
	}
	if err != nil {
		return nil, err
	}
	return s.view(doc), nil
}

func checkRecipients(recipients []*ingestv1.Recipient) error {
	if len(recipients) > maxRecipients {
		return invalid("settings.recipients", "must not be more than %d", maxRecipients)
	}
	seen := map[string]bool{}
	for i, r := range recipients {
		at, err := mail.ParseAddress(r.GetEmail())
		if err != nil || at.Address != r.GetEmail() || len(r.GetEmail()) > maxAddress {
			return invalid("settings.recipients", "entry %d has no e-mail address; someone@school.example would be one", i+1)
		}
		if seen[strings.ToLower(r.GetEmail())] {
			return invalid("settings.recipients", "entry %d has an address that another one has", i+1)
		}
		seen[strings.ToLower(r.GetEmail())] = true
		for _, k := range r.GetKinds() {
			if _, known := ingestv1.NotificationKind_name[int32(k)]; !known || k == ingestv1.NotificationKind_NOTIFICATION_KIND_UNSPECIFIED {
				return invalid("settings.recipients", "entry %d names a kind of notification that does not exist", i+1)
			}
		}
	}
	return nil
}

func (s *notifications) SendTestNotification(ctx context.Context, req *ingestv1.SendTestNotificationRequest) (*ingestv1.SendTestNotificationResponse, error) {
	owner, err := s.Store.District(ctx, req.GetDistrict())
	if err != nil {
		return nil, err
	}
	doc, err := s.Store.Notifications.Get(ctx, req.GetDistrict())
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	if !slices.ContainsFunc(doc.Value.GetSettings().GetRecipients(), func(r *ingestv1.Recipient) bool { return r.GetEmail() == req.GetEmail() }) {
		return nil, invalid("email", "is none of the recipients: add it to the settings first")
	}
	if s.Mail == nil {
		return nil, errs.New(codes.FailedPrecondition, "MAIL_OFF", "the hub has no mail server: start it with --smtp-url")
	}
	if err := s.Mail.Send(ctx, notify.Test(owner.Value.GetDistrict(), req.GetDistrict(), req.GetEmail(), s.Now())); err != nil {
		return nil, errs.New(codes.Unavailable, "MAIL_NOT_SENT", "the mail server did not take the mail: look at the address, the mail server's settings and its log").Because(err)
	}
	return &ingestv1.SendTestNotificationResponse{}, nil
}
