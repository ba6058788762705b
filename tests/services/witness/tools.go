//go:build tools

// Names what the module is for, so that go.mod keeps it.
package tools

import _ "filippo.io/torchwood/cmd/litewitness"
