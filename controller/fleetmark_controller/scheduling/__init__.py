"""Which waiting job runs on which free device: pure, behind one interface."""
