package cli

import (
	"context"
	"errors"
	"slices"
)

// demo runs the demo until it is over or a signal ends it.
func (a *app) demo() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := a.env.Signals(false)
	go func() {
		for {
			select {
			case s := <-signals:
				if !slices.Contains(summarySignals(), s) {
					cancel()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	err := a.env.Demo(ctx, a.out)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
