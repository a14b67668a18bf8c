module github.com/securly/sync/gateway

go 1.26.0

replace github.com/securly/sync/proto => ../proto

replace github.com/securly/sync/services => ../services

require (
	github.com/securly/sync/proto v0.0.0
	github.com/securly/sync/services v0.0.0
)

ignore ./web/node_modules
