package notify

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// sendTimeout bounds each exchange with the mail server.
const sendTimeout = 30 * time.Second

// Server is the mail server that mails go through.
type Server struct {
	host    string
	options []gomail.Option
	from    string
}

// NewServer reads the address of a mail server: smtp://user:password@host:587
// must offer STARTTLS, smtps://user:password@host:465 is TLS from the start, and
// smtp://host:25?tls=none is a relay within an own network. Nothing is sent yet.
// The errors do not repeat the address, which has a password.
func NewServer(address, from string) (*Server, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("the address of the mail server is not one: smtp://user:password@mail.example:587 would be")
	}
	if _, err := mail.ParseAddress(from); err != nil {
		return nil, fmt.Errorf("the sender of mails: %q is no e-mail address", from)
	}
	s := &Server{host: u.Hostname(), from: from, options: []gomail.Option{gomail.WithTimeout(sendTimeout)}}
	port, unencrypted := 587, u.Query().Get("tls") == "none"
	switch {
	case u.Scheme == "smtps":
		port = 465
		s.options = append(s.options, gomail.WithSSL())
	case u.Scheme == "smtp" && unencrypted:
		port = 25
		s.options = append(s.options, gomail.WithTLSPolicy(gomail.NoTLS))
	case u.Scheme == "smtp":
		s.options = append(s.options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	default:
		return nil, fmt.Errorf("the address of the mail server begins with %q: smtp and smtps are known", u.Scheme)
	}
	if text := u.Port(); text != "" {
		if port, err = strconv.Atoi(text); err != nil {
			return nil, errors.New("the address of the mail server has a port that is no number")
		}
	}
	s.options = append(s.options, gomail.WithPort(port))
	if u.User != nil {
		if unencrypted {
			return nil, errors.New("the mail server would get its password in clear text: leave out tls=none, or the user")
		}
		password, _ := u.User.Password()
		s.options = append(s.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	if _, err := gomail.NewClient(s.host, s.options...); err != nil {
		return nil, fmt.Errorf("the address of the mail server: %w", err)
	}
	return s, nil
}

// errRefused: the mail will never be taken.
var errRefused = errors.New("the mail server does not take it")

// Mail is one message to one person.
type Mail struct {
	ID, To, Subject, Text string
	Time                  time.Time
}

// Send hands a mail to the server. Its error is errRefused where trying again
// is of no use. A mail that is sent again has the same Message-ID.
func (s *Server) Send(ctx context.Context, m Mail) error {
	msg := gomail.NewMsg()
	if err := errors.Join(msg.From(s.from), msg.To(m.To)); err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	msg.SetMessageIDWithValue(m.ID + "@" + s.host)
	msg.SetDateWithValue(m.Time)
	msg.SetBulk()
	msg.Subject(m.Subject)
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	client, err := gomail.NewClient(s.host, s.options...)
	if err != nil {
		return fmt.Errorf("connect to the mail server: %w", err)
	}
	err = client.DialAndSendWithContext(ctx, msg)
	var failed *gomail.SendError
	if errors.As(err, &failed) { // its text has the address
		if failed.ErrorCode() >= 500 && !failed.IsTemp() {
			return fmt.Errorf("%w: code %d", errRefused, failed.ErrorCode())
		}
		return fmt.Errorf("send a mail: %s, code %d", failed.Reason, failed.ErrorCode())
	}
	if err != nil {
		return fmt.Errorf("send a mail: %w", err)
	}
	return nil
}
