module github.com/securly/sync/deploy

go 1.26.0

ignore ./e2e/browser/node_modules

replace github.com/securly/sync/proto => ../proto

replace github.com/securly/sync/services => ../services

replace github.com/securly/sync/gateway => ../gateway

require (
	github.com/nats-io/nats-server/v2 v2.15.2
	github.com/securly/sync/gateway v0.0.0
	github.com/securly/sync/proto v0.0.0
	github.com/securly/sync/services v0.0.0
	github.com/stretchr/testify v1.11.1
	golang.org/x/text v0.43.0
	google.golang.org/grpc v1.85.0
)
