package rosterclient

import "time"

// Hasten makes pauses short, for tests.
func (c *Client) Hasten() *Client {
	c.pause = func(int) time.Duration { return time.Millisecond }
	return c
}
