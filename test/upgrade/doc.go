// Package upgrade has an older version of the command attach rules, and the one of today list,
// replace and detach them.
package upgrade
